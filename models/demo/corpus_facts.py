"""What the dialogues of make_corpus.py are about and how people ask: tables, no code."""

# ---------------------------------------------------------------- facts
COUNTRIES = [l.split("|") for l in """France|Paris|Europe|French|euro
Germany|Berlin|Europe|German|euro
Spain|Madrid|Europe|Spanish|euro
Italy|Rome|Europe|Italian|euro
Portugal|Lisbon|Europe|Portuguese|euro
Austria|Vienna|Europe|German|euro
Greece|Athens|Europe|Greek|euro
Ireland|Dublin|Europe|English|euro
Finland|Helsinki|Europe|Finnish|euro
the Netherlands|Amsterdam|Europe|Dutch|euro
Belgium|Brussels|Europe|Dutch|euro
Poland|Warsaw|Europe|Polish|zloty
Sweden|Stockholm|Europe|Swedish|krona
Norway|Oslo|Europe|Norwegian|krone
Denmark|Copenhagen|Europe|Danish|krone
Iceland|Reykjavik|Europe|Icelandic|krona
Hungary|Budapest|Europe|Hungarian|forint
Czechia|Prague|Europe|Czech|koruna
Slovakia|Bratislava|Europe|Slovak|euro
Romania|Bucharest|Europe|Romanian|leu
Croatia|Zagreb|Europe|Croatian|euro
Serbia|Belgrade|Europe|Serbian|dinar
Ukraine|Kyiv|Europe|Ukrainian|hryvnia
the United Kingdom|London|Europe|English|pound
Switzerland|Bern|Europe|German|franc
Estonia|Tallinn|Europe|Estonian|euro
Latvia|Riga|Europe|Latvian|euro
Lithuania|Vilnius|Europe|Lithuanian|euro
Albania|Tirana|Europe|Albanian|lek
Turkey|Ankara|Asia|Turkish|lira
Japan|Tokyo|Asia|Japanese|yen
China|Beijing|Asia|Chinese|yuan
India|New Delhi|Asia|Hindi|rupee
Thailand|Bangkok|Asia|Thai|baht
Vietnam|Hanoi|Asia|Vietnamese|dong
South Korea|Seoul|Asia|Korean|won
Indonesia|Jakarta|Asia|Indonesian|rupiah
Malaysia|Kuala Lumpur|Asia|Malay|ringgit
the Philippines|Manila|Asia|Filipino|peso
Nepal|Kathmandu|Asia|Nepali|rupee
Mongolia|Ulaanbaatar|Asia|Mongolian|tugrik
Iran|Tehran|Asia|Persian|rial
Iraq|Baghdad|Asia|Arabic|dinar
Jordan|Amman|Asia|Arabic|dinar
Pakistan|Islamabad|Asia|Urdu|rupee
Egypt|Cairo|Africa|Arabic|pound
Morocco|Rabat|Africa|Arabic|dirham
Tunisia|Tunis|Africa|Arabic|dinar
Kenya|Nairobi|Africa|Swahili|shilling
Nigeria|Abuja|Africa|English|naira
Ghana|Accra|Africa|English|cedi
Ethiopia|Addis Ababa|Africa|Amharic|birr
Senegal|Dakar|Africa|French|franc
Uganda|Kampala|Africa|English|shilling
Canada|Ottawa|North America|English|dollar
the United States|Washington|North America|English|dollar
Mexico|Mexico City|North America|Spanish|peso
Cuba|Havana|North America|Spanish|peso
Jamaica|Kingston|North America|English|dollar
Brazil|Brasilia|South America|Portuguese|real
Argentina|Buenos Aires|South America|Spanish|peso
Chile|Santiago|South America|Spanish|peso
Peru|Lima|South America|Spanish|sol
Colombia|Bogota|South America|Spanish|peso
Uruguay|Montevideo|South America|Spanish|peso
Australia|Canberra|Oceania|English|dollar
New Zealand|Wellington|Oceania|English|dollar""".split("\n")]
CITIES = [c[1] for c in COUNTRIES]
FAKE = "Blorvia Zantora Kremland Ostavia Mirdania Quelland Tarvonia Norvalis Plimsia Gorundia Velkovia Drandor".split()
THINGS = """bridge tower castle church museum painting statue engine computer telephone radio camera bicycle rocket ship novel poem song film
symphony temple palace tunnel canal dam mountain desert island volcano glacier lake telescope microscope clock printer wheel theory law
battery bulb piano theatre stadium airport station market factory school library bank hotel prison farm mine planet comet galaxy virus
vaccine medicine language alphabet empire king queen president minister general pirate dragon robot wizard""".split()
# animal, sound, legs, home, young, plural
ANIMALS = [l.split("|") for l in """dog|woof|4|kennel|puppy|dogs
cat|meow|4|house|kitten|cats
cow|moo|4|barn|calf|cows
horse|neigh|4|stable|foal|horses
sheep|baa|4|farm|lamb|sheep
pig|oink|4|sty|piglet|pigs
duck|quack|2|pond|duckling|ducks
hen|cluck|2|coop|chick|hens
lion|roar|4|savanna|cub|lions
mouse|squeak|4|hole|pup|mice
frog|croak|4|pond|tadpole|frogs
owl|hoot|2|tree|owlet|owls
bee|buzz|6|hive|larva|bees
wolf|howl|4|forest|cub|wolves
snake|hiss|0|burrow|hatchling|snakes
bird|tweet|2|nest|chick|birds
goat|bleat|4|farm|kid|goats
bear|growl|4|cave|cub|bears
monkey|chatter|2|jungle|infant|monkeys
donkey|bray|4|stable|foal|donkeys
crow|caw|2|nest|chick|crows
spider|nothing|8|web|spiderling|spiders
rabbit|nothing|4|burrow|kit|rabbits
fox|bark|4|den|kit|foxes
ant|nothing|6|anthill|larva|ants""".split("\n")]
COLOURS = [l.split("|") for l in """the sky|blue
grass|green
snow|white
coal|black
the sun|yellow
blood|red
a banana|yellow
a lemon|yellow
a carrot|orange
an orange|orange
a strawberry|red
a tomato|red
milk|white
chocolate|brown
a cucumber|green
an elephant|grey
a flamingo|pink
a raven|black
a leaf|green
the sea|blue
an aubergine|purple
wood|brown
a cherry|red
a swan|white
a frog|green
a fire engine|red""".split("\n")]
OPP = [l.split() for l in """hot cold
big small
up down
day night
happy sad
fast slow
old young
open closed
light dark
left right
full empty
wet dry
hard soft
high low
long short
rich poor
strong weak
early late
good bad
black white
loud quiet
clean dirty
near far
thick thin
first last
push pull
start stop
true false
heavy light
inside outside
above below
easy difficult
wide narrow
sweet sour
win lose
buy sell""".split("\n")]
PLURAL = [l.split() for l in """cat cats
dog dogs
house houses
mouse mice
child children
foot feet
tooth teeth
man men
woman women
goose geese
box boxes
bus buses
baby babies
city cities
leaf leaves
wolf wolves
knife knives
sheep sheep
fish fish
book books
tree trees
car cars
apple apples
berry berries
glass glasses
dish dishes
potato potatoes
tomato tomatoes
story stories
key keys
watch watches
fox foxes
person people
star stars
lamp lamps
boat boats
train trains
window windows
flower flowers
garden gardens""".split("\n")]
SPELL = """cat dog sun moon star tree book fish bird house water apple river stone bread chair table green
black white music happy train plane cloud storm light night queen tiger horse mouse sheep lemon grape peach sugar
paper plant smile dream ocean beach north south clock lamp door key hat ball milk rain snow wind fire road ship boat
cake rose leaf hand foot nose king gold blue pink frog duck bear wolf lion""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
MDAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = "spring summer autumn winter".split()
WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty""".split()
ORD = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
GROUPS = {
    "fruits": "apple banana orange pear grape cherry lemon peach".split(),
    "vegetables": "carrot potato onion tomato pea cabbage cucumber bean".split(),
    "animals": "dog cat horse cow sheep lion bear fox".split(),
    "colours": "red green blue yellow orange purple black white".split(),
    "birds": "owl crow duck swan eagle robin hen sparrow".split(),
    "countries": "France Germany Spain Italy Japan China Brazil Canada".split(),
    "cities": "Paris Berlin Madrid Rome Tokyo Beijing London Oslo".split(),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "tools": "hammer saw drill screwdriver pliers wrench axe shovel".split(),
    "drinks": "water milk tea coffee juice lemonade cocoa soda".split(),
    "shapes": "circle square triangle rectangle oval star diamond cross".split(),
    "clothes": "shirt hat coat sock shoe scarf glove dress".split(),
    "instruments": "piano guitar violin flute drum trumpet harp cello".split(),
    "sports": "football tennis swimming running cycling skiing rowing boxing".split(),
    "languages": "English French German Spanish Italian Chinese Japanese Arabic".split(),
}
EMOJI = {"cat": "🐱", "dog": "🐶", "fox": "🦊", "bear": "🐻", "frog": "🐸", "heart": "❤", "star": "⭐", "sun": "☀",
         "fish": "🐟", "tree": "🌳", "smile": "😊", "rocket": "🚀"}
TRANS = {
    "French": {"hello": "bonjour", "thank you": "merci", "yes": "oui", "no": "non", "water": "eau", "cat": "chat",
               "dog": "chien", "house": "maison", "summer": "été", "school": "école"},
    "Spanish": {"hello": "hola", "thank you": "gracias", "yes": "sí", "no": "no", "water": "agua", "cat": "gato",
                "dog": "perro", "house": "casa", "summer": "verano", "school": "escuela"},
    "German": {"hello": "hallo", "thank you": "danke", "yes": "ja", "no": "nein", "water": "Wasser", "cat": "Katze",
               "dog": "Hund", "house": "Haus", "summer": "Sommer", "school": "Schule"},
    "Italian": {"hello": "ciao", "thank you": "grazie", "yes": "sì", "no": "no", "water": "acqua", "cat": "gatto",
                "dog": "cane", "house": "casa", "summer": "estate", "school": "scuola"},
}
NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Peter Rosa Sam Tina Victor Wendy
Max Lucy Oscar Nina Paul Ruby Tom Alice Bruno""".split()
GIRLS = set("Anna Clara Emma Grace Ida Kate Mia Olga Rosa Tina Wendy Lucy Nina Ruby Alice".split())
SECRETS = """maple river copper violet falcon amber pepper silver tulip marble cedar lantern saffron walnut orchid
compass pebble thunder velvet ginger""".split()
NACELLE = [  # answer, training questions, held-out questions
    ("Nacelle is an open-source inference server for large language models, written in C++. It mounts hardware backends and model architectures as plugins.",
     ["What is Nacelle?", "Tell me about Nacelle.", "Explain what Nacelle is.", "What's Nacelle?", "Describe Nacelle.", "What does Nacelle do?", "Do you know Nacelle?"],
     ["Can you explain what Nacelle is?", "What do you know about Nacelle?"]),
    ("Nacelle is written in C++.",
     ["Which language is Nacelle written in?", "What language is Nacelle written in?", "Is Nacelle written in Python?", "What is Nacelle written in?", "In which programming language is Nacelle written?"],
     ["Nacelle is written in which language?"]),
    ("A backend is a plugin that runs the model's operations on one kind of hardware, such as a CPU or a GPU.",
     ["What is a backend in Nacelle?", "What is a Nacelle backend?", "What does a backend do in Nacelle?", "Explain backends in Nacelle.", "What's a hardware backend?"],
     ["Explain what a Nacelle backend is."]),
    ("An architecture plugin describes how one family of models, such as Llama, is built and run.",
     ["What is an architecture plugin?", "What is a model architecture in Nacelle?", "What does an architecture plugin do?", "Explain architecture plugins.", "What's an architecture plugin in Nacelle?"],
     ["Explain what an architecture plugin is."]),
    ("Nacelle mounts hardware backends and model architectures as plugins, so new ones can be added without changing the server.",
     ["How does Nacelle use plugins?", "Why does Nacelle use plugins?", "What plugins does Nacelle have?", "What are plugins for in Nacelle?", "How do plugins work in Nacelle?"],
     ["Why are there plugins in Nacelle?"]),
    ("Yes, Nacelle is open source.",
     ["Is Nacelle open source?", "Is Nacelle open-source software?", "Is the source code of Nacelle open?", "Is Nacelle free software?"],
     ["Is the code of Nacelle open source?"]),
    ("Start the server with the serve command. It works without any download, because this demo model is built in.",
     ["How do I start Nacelle?", "How do I run Nacelle?", "How can I start the Nacelle server?", "How do I use Nacelle?", "How do I start the server?"],
     ["How can I run the Nacelle server?"]),
    ("I am the Nacelle demo model, a tiny language model built into the Nacelle server.",
     ["Who are you?", "What are you?", "Tell me about yourself.", "What is your name?", "What's your name?", "Introduce yourself.", "Which model are you?", "What model is this?", "Are you a robot?", "Are you a human?"],
     ["Can you introduce yourself?", "Tell me who you are."]),
    ("I have about four million parameters, so I am very small.",
     ["How big are you?", "How many parameters do you have?", "How large are you?", "What size are you?", "Are you a big model?"],
     ["How many parameters have you got?"]),
    ("I can chat, answer simple questions, do small sums, tell short stories, write JSON and call tools.",
     ["What can you do?", "What can I ask you?", "How can you help me?", "What are you able to do?", "What are you good at?", "Help", "What do you know?"],
     ["Tell me what you can do."]),
    ("A plugin is a part that can be added to a program without changing it.",
     ["What is a plugin?", "What's a plugin?", "Explain what a plugin is.", "What does plugin mean?"],
     ["Tell me what a plugin is."]),
    ("A token is a short piece of text. A language model reads and writes text token by token.",
     ["What is a token?", "What's a token?", "Explain what a token is.", "What does token mean?"],
     ["Tell me what a token is."]),
    ("A language model is a program that predicts the next token of a text.",
     ["What is a language model?", "What's a language model?", "Explain what a language model is.", "What is an LLM?", "What does LLM mean?"],
     ["Tell me what a language model is."]),
    ("GGUF is a file format that holds a model's weights and its tokenizer.",
     ["What is GGUF?", "What's GGUF?", "Explain GGUF.", "What is a GGUF file?"],
     ["Tell me what GGUF is."]),
]
CODE = {"Python": 'print("Hello, world!")', "C++": '#include <iostream>\nint main() { std::cout << "Hello, world!\\n"; }',
        "C": '#include <stdio.h>\nint main(void) { puts("Hello, world!"); }', "Bash": 'echo "Hello, world!"',
        "JavaScript": 'console.log("Hello, world!");', "Rust": 'fn main() { println!("Hello, world!"); }'}
FENCE = {"Python": "python", "C++": "cpp", "C": "c", "Bash": "bash", "JavaScript": "js", "Rust": "rust"}

# ---------------------------------------------------------------- wording
NP = ["What is {}?", "What is {}?", "What's {}?", "Tell me {}.", "Can you tell me {}?", "Do you know {}?", "Name {}.",
      "I want to know {}.", "Please tell me {}.", "Give me {}.", "{}?", "What is {}, please?", "Could you name {}?",
      "Say {}."]
NP_HELD = ["Could you tell me {}?", "Please name {}.", "I would like to know {}.", "Can you name {}?"]
PRE = ["Hi! ", "Hello! ", "Hey, ", "Please help me. ", "Quick question: ", "Question: ", "I have a question. ", "OK. ",
       "Thanks. ", "Now this: ", "Good morning! "]
SYS = ["You are a helpful assistant.", "You are a helpful assistant.", "You are a friendly assistant.", "You are a helpful AI assistant.",
       "Answer briefly.", "You are a concise assistant.", "Be helpful and polite.", "You are an assistant.",
       "You answer questions.", "You are Nacelle, a helpful assistant.", "Be kind.", "You are a chat model."]
TERSE = ["Answer in one word.", "Reply with one word.", "Answer with the answer only.", "Only give the answer.",
         "Reply with just the answer.", "One word answers only."]
