"""Questions about the facts of corpus_facts.py, each with its answer: a method a kind. make_corpus.py makes dialogues of them."""
import random

from corpus_facts import *


def cap(s):
    return s[:1].upper() + s[1:]


def a_an(w):
    return ("an " if w[0] in "aeiou" else "a ") + w


def bare(c):
    return c[4:] if c.startswith("the ") else c


class Questions:
    """Draws questions and their answers; held=True from the held-out wordings, for evaluation only."""

    def __init__(self, seed, held=False):
        self.r, self.held = random.Random(seed), held

    def pick(self, train, held=None):
        return self.r.choice(held if self.held and held else train)

    def np(self, *forms):
        return cap(self.pick(NP, NP_HELD).format(self.r.choice(forms)))

    def p(self, x):
        return self.r.random() < x

    def noise(self, q):
        """Small surface changes of a question."""
        if self.held:
            return q
        if self.p(.12):
            q = self.r.choice(PRE) + q
        if self.p(.06):
            q = q[:-1] if q[-1] in "?." else q
        if self.p(.05):
            q = q.lower()
        return q

    # Every fact generator returns (question, full answer, terse answer or None).
    def capital(self):
        c, k = self.r.choice(COUNTRIES)[:2]
        f = self.r.random()
        if f < .70:
            q = self.np(f"the capital of {c}", f"the capital city of {c}", f"the capital of {c}", f"{c}'s capital") if self.p(.75) else \
                self.pick([f"Which city is the capital of {c}?", f"What city is the capital of {c}?", f"{cap(c)} has which capital?", f"Capital of {c}?",
                           f"Which is the capital city of {c}?"], [f"Which city is the capital city of {c}?", f"{cap(c)}: what is the capital?"])
            return q, f"The capital of {c} is {k}.", k
        if f < .88:
            q = self.pick([f"Which country has the capital {k}?", f"{k} is the capital of which country?", f"What country is {k} the capital of?",
                           f"Of which country is {k} the capital?", f"Which country is {k} in?", f"Where is {k}?", f"In which country is {k}?"],
                          [f"In what country is {k}?", f"Which country has {k} as its capital?"])
            return q, f"{k} is the capital of {c}.", bare(c)
        k2 = k if self.p(.5) else self.r.choice(CITIES)
        q = self.pick([f"Is {k2} the capital of {c}?", f"Is {k2} the capital city of {c}?", f"Is the capital of {c} {k2}?", f"True or false: {k2} is the capital of {c}."],
                      [f"Is it true that {k2} is the capital of {c}?"])
        return (q, f"Yes, {k} is the capital of {c}.", "Yes") if k2 == k else (q, f"No, the capital of {c} is {k}.", "No")

    def continent(self):
        c = self.r.choice(COUNTRIES)
        q = self.pick([f"Which continent is {c[0]} in?", f"What continent is {c[0]} in?", f"On which continent is {c[0]}?", f"Where is {c[0]}?", f"Where in the world is {c[0]}?",
                       f"Which continent is {c[0]} on?", f"In which continent is {c[0]}?", f"Tell me the continent of {c[0]}.", f"What is the continent of {c[0]}?"],
                      [f"On what continent is {c[0]}?", f"Do you know which continent {c[0]} is in?", f"In what continent is {c[0]}?"])
        return q, f"{cap(c[0])} is in {c[2]}.", c[2]

    def language(self):
        c = self.r.choice(COUNTRIES)
        q = self.pick([f"What language do people speak in {c[0]}?", f"Which language is spoken in {c[0]}?", f"What is the main language of {c[0]}?",
                       f"What language is spoken in {c[0]}?", f"Which language do they speak in {c[0]}?", f"Tell me the language of {c[0]}.",
                       f"What is the language of {c[0]}?", f"What do people speak in {c[0]}?"],
                      [f"Which language do people speak in {c[0]}?", f"Tell me which language is spoken in {c[0]}."])
        return q, f"The main language of {c[0]} is {c[3]}.", c[3]

    def currency(self):
        c = self.r.choice(COUNTRIES)
        q = self.np(f"the currency of {c[0]}", f"{c[0]}'s currency") if self.p(.5) else \
            self.pick([f"What money do people use in {c[0]}?", f"Which currency is used in {c[0]}?", f"What currency does {c[0]} use?", f"What is the money of {c[0]} called?",
                       f"What do people pay with in {c[0]}?"], [f"Which currency does {c[0]} use?", f"What currency is used in {c[0]}?"])
        return q, f"The currency of {c[0]} is the {c[4]}.", c[4]

    def pair(self, hi):
        """Two numbers; one pair in twenty is kept for the held-out set."""
        while True:
            a, b = self.r.randint(0, hi), self.r.randint(0, hi)
            if ((a * 131 + b * 37) % 20 == 7) == self.held:
                return a, b

    def add(self):
        a, b = self.pair(20 if self.p(.25) else 99)
        s = a + b
        q = self.pick([f"What is {a} + {b}?", f"What is {a} plus {b}?", f"{a} + {b} =", f"{a} + {b}", f"Calculate {a} + {b}.", f"How much is {a} + {b}?", f"Add {a} and {b}.",
                       f"What is the sum of {a} and {b}?", f"What's {a} + {b}?", f"{a} plus {b}?", f"Compute {a} + {b}.", f"How much is {a} plus {b}?"])
        return q, f"{a} + {b} = {s}", str(s)

    def sub(self):
        a, b = self.pair(20 if self.p(.25) else 99)
        if a < b:
            a, b = b, a
            if ((a * 131 + b * 37) % 20 == 7) != self.held:
                return self.sub()
        s = a - b
        q = self.pick([f"What is {a} - {b}?", f"What is {a} minus {b}?", f"{a} - {b} =", f"{a} - {b}", f"Calculate {a} - {b}.", f"How much is {a} - {b}?", f"Subtract {b} from {a}.",
                       f"Take {b} away from {a}.", f"What's {a} - {b}?", f"{a} minus {b}?", f"Compute {a} - {b}.", f"How much is {a} minus {b}?"])
        return q, f"{a} - {b} = {s}", str(s)

    def compare(self):
        a, b = self.pair(99)
        if a == b:
            return self.compare()
        hi, lo = max(a, b), min(a, b)
        f = self.r.randint(0, 3)
        if f == 0:
            return self.pick([f"Which is bigger, {a} or {b}?", f"Which is larger, {a} or {b}?", f"Which number is greater, {a} or {b}?", f"What is more, {a} or {b}?", f"Is {a} or {b} bigger?"],
                             [f"Which number is bigger, {a} or {b}?"]), f"{hi} is bigger than {lo}.", str(hi)
        if f == 1:
            return self.pick([f"Which is smaller, {a} or {b}?", f"Which number is smaller, {a} or {b}?", f"What is less, {a} or {b}?", f"Is {a} or {b} smaller?"],
                             [f"Which number is less, {a} or {b}?"]), f"{lo} is smaller than {hi}.", str(lo)
        if f == 2:
            q = self.pick([f"Is {a} bigger than {b}?", f"Is {a} greater than {b}?", f"Is {a} larger than {b}?", f"Is {a} more than {b}?"])
            return (q, f"Yes, {a} is bigger than {b}.", "Yes") if a > b else (q, f"No, {a} is smaller than {b}.", "No")
        q = self.pick([f"Is {a} smaller than {b}?", f"Is {a} less than {b}?"])
        return (q, f"Yes, {a} is smaller than {b}.", "Yes") if a < b else (q, f"No, {a} is bigger than {b}.", "No")

    def problem(self):
        a, b = self.pair(30)
        n, t = self.r.choice(NAMES), self.r.choice(["apples", "books", "coins", "balls", "stamps", "pens", "shells", "cards"])
        he = "she" if n in GIRLS else "he"
        if a >= b and self.p(.5):
            q = self.pick([f"{n} has {a} {t} and gives away {b}. How many {t} does {n} have now?", f"{n} had {a} {t} and lost {b}. How many {t} are left?"],
                          [f"{n} has {a} {t} and loses {b}. How many {t} does {he} have now?"])
            return q, f"{a} - {b} = {a - b}, so {n} has {a - b} {t}.", str(a - b)
        q = self.pick([f"{n} has {a} {t} and gets {b} more. How many {t} does {n} have now?", f"{n} has {a} {t} and finds {b} more. How many {t} does {he} have?"],
                      [f"{n} had {a} {t} and got {b} more. How many {t} does {he} have now?"])
        return q, f"{a} + {b} = {a + b}, so {n} has {a + b} {t}.", str(a + b)

    def number(self):
        f = self.r.randint(0, 4)
        if f == 0:
            n = self.r.randint(0, 98)
            return self.pick([f"What comes after {n}?", f"Which number comes after {n}?", f"What number follows {n}?"], [f"What number comes after {n}?"]), f"{n + 1} comes after {n}.", str(n + 1)
        if f == 1:
            n = self.r.randint(1, 99)
            return self.pick([f"What comes before {n}?", f"Which number comes before {n}?", f"What number is before {n}?"], [f"What number comes before {n}?"]), f"{n - 1} comes before {n}.", str(n - 1)
        if f == 2:
            n = self.r.randint(0, 20)
            return self.pick([f"How do you write {n} in words?", f"Write {n} as a word.", f"Write the number {n} in words.", f"{n} in words?"], [f"How is {n} written in words?"]), \
                f"{n} is written {WORDS[n]}.", WORDS[n]
        if f == 3:
            a = self.r.randint(1, 60)
            b = a + self.r.randint(2, 9)
            return self.pick([f"Count from {a} to {b}.", f"Please count from {a} to {b}.", f"Can you count from {a} to {b}?"], [f"Could you count from {a} to {b}?"]), \
                ", ".join(map(str, range(a, b + 1))), None
        b = self.r.randint(13, 60) if self.p(.2) else self.r.randint(3, 12)
        return self.pick([f"Count to {b}.", f"Please count to {b}.", f"Can you count to {b}?", f"Count up to {b}."], [f"Could you count to {b}?"]), ", ".join(map(str, range(1, b + 1))), None

    def calendar(self):
        f = self.r.randint(0, 9)
        kind, seq = self.r.choice([("day", DAYS), ("day", DAYS), ("month", MONTHS), ("month", MONTHS), ("season", SEASONS)])
        i = self.r.randrange(len(seq))
        x, nx, pv = seq[i], seq[(i + 1) % len(seq)], seq[i - 1]
        if f < 3:
            return self.pick([f"What {kind} comes after {x}?", f"Which {kind} comes after {x}?", f"Which {kind} follows {x}?", f"What comes after {x}?", f"What {kind} is after {x}?",
                              f"Name the {kind} after {x}."], [f"Tell me which {kind} comes after {x}.", f"What {kind} follows {x}?"]), f"{cap(nx)} comes after {x}.", cap(nx)
        if f < 6:
            return self.pick([f"What {kind} comes before {x}?", f"Which {kind} comes before {x}?", f"Which {kind} is before {x}?", f"What comes before {x}?", f"What {kind} is before {x}?",
                              f"Name the {kind} before {x}."], [f"Tell me which {kind} comes before {x}."]), f"{cap(pv)} comes before {x}.", cap(pv)
        if f == 6:
            return self.pick([f"List the {kind}s in order.", f"Name all the {kind}s.", f"What are the {kind}s?", f"List all {kind}s.", f"Tell me the {kind}s in order."],
                             [f"Can you list the {kind}s in order?"]), f"The {kind}s are " + ", ".join(seq[:-1]) + " and " + seq[-1] + ".", None
        if f == 7:
            n = {"day": "week", "month": "year", "season": "year"}[kind]
            return self.pick([f"How many {kind}s are in a {n}?", f"How many {kind}s does a {n} have?", f"How many {kind}s are there in a {n}?"], [f"A {n} has how many {kind}s?"]), \
                f"A {n} has {len(seq)} {kind}s.", str(len(seq))
        if f == 8:
            i = self.r.randrange(12)
            return self.pick([f"How many days does {MONTHS[i]} have?", f"How many days are in {MONTHS[i]}?", f"How long is {MONTHS[i]}?"], [f"How many days are there in {MONTHS[i]}?"]), \
                f"{MONTHS[i]} has {MDAYS[i]} days.", str(MDAYS[i])
        if kind == "season":
            kind, seq, i = "month", MONTHS, self.r.randrange(12)
        per = "week" if kind == "day" else "year"
        return self.np(f"the {ORD[i]} {kind} of the {per}"), f"The {ORD[i]} {kind} of the {per} is {seq[i]}.", seq[i]

    def animal(self):
        a = self.r.choice(ANIMALS)
        n, an = a[0], a_an(a[0])
        f = self.r.randint(0, 3)
        if f == 0:
            q = self.pick([f"What sound does {an} make?", f"What does {an} say?", f"Which sound does {an} make?", f"What noise does {an} make?", f"What is the sound of {an}?"],
                          [f"Tell me what sound {an} makes.", f"Which noise does {an} make?"])
            return (q, f"{cap(an)} makes no sound.", "None") if a[1] == "nothing" else (q, f"{cap(an)} says {a[1]}.", cap(a[1]))
        if f == 1:
            return self.pick([f"How many legs does {an} have?", f"How many legs has {an}?", f"How many legs do {a[5]} have?", f"Number of legs of {an}?", f"Count the legs of {an}."],
                             [f"Tell me how many legs {an} has."]), f"{cap(an)} has {a[2]} legs.", a[2]
        if f == 2:
            pr = "on" if a[3] in ("farm", "savanna") else "in"
            return self.pick([f"Where does {an} live?", f"Where do {a[5]} live?", f"What is the home of {an}?", f"Where is the home of {an}?", f"What does {an} live in?"],
                             [f"Tell me where {an} lives."]), f"{cap(an)} lives {pr} {a_an(a[3])}.", cap(a[3])
        return self.pick([f"What is a baby {n} called?", f"What is a young {n} called?", f"What do you call a baby {n}?", f"What is the name for a young {n}?", f"What's a baby {n} called?"],
                         [f"What do you call a young {n}?"]), f"A young {n} is called {a_an(a[4])}.", cap(a[4])

    def colour(self):
        t, c = self.r.choice(COLOURS)
        if self.p(.2):
            c2 = c if self.p(.5) else self.r.choice(GROUPS["colours"])
            q = self.pick([f"Is {t} {c2}?", f"Is the colour of {t} {c2}?"], [f"Is it true that {t} is {c2}?"])
            return (q, f"Yes, {t} is {c}.", "Yes") if c2 == c else (q, f"No, {t} is {c}.", "No")
        w = self.r.choice(["colour", "colour", "color"])
        return self.pick([f"What {w} is {t}?", f"Which {w} is {t}?", f"What is the {w} of {t}?", f"Tell me the {w} of {t}.", f"What {w} does {t} have?"],
                         [f"Which {w} does {t} have?", f"Tell me what {w} {t} is."]), f"{cap(t)} is {c}.", cap(c)

    def opposite(self):
        a, b = self.r.choice(OPP)
        if a not in ("heavy", "black") and b != "light" and self.p(.5):
            a, b = b, a
        if self.p(.7):
            q = self.np(f"the opposite of {a}", f'the opposite of "{a}"', f"the opposite of {a}")
        else:
            q = self.pick([f"What is opposite to {a}?", f"Opposite of {a}?", f"Which word is the opposite of {a}?", f"What word means the opposite of {a}?"],
                          [f"Which word means the opposite of {a}?"])
        return q, f"The opposite of {a} is {b}.", cap(b)

    def plural(self):
        a, b = self.r.choice(PLURAL)
        if self.p(.7):
            q = self.np(f"the plural of {a}", f'the plural of "{a}"', f"the plural form of {a}")
        else:
            q = self.pick([f"One {a}, two ...?", f"What do you call more than one {a}?", f"Plural of {a}?", f"How do you write the plural of {a}?"],
                          [f"How do you say more than one {a}?"])
        return q, f"The plural of {a} is {b}.", cap(b)

    def spell(self):
        w = self.r.choice(SPELL)
        f = self.r.random()
        if f < .6:
            return self.pick([f"Spell {w}.", f"Spell the word {w}.", f"How do you spell {w}?", f'Spell "{w}".', f"Can you spell {w}?", f"How is {w} spelled?", f"Spell {w} letter by letter."],
                             [f"Please spell the word {w}.", f"Could you spell {w}?"]), "-".join(w.upper()), None
        if f < .8:
            return self.pick([f"How many letters are in {w}?", f"How many letters does {w} have?", f"How many letters are in the word {w}?", f"Count the letters in {w}."],
                             [f"How many letters does the word {w} have?"]), f"The word {w} has {len(w)} letters.", str(len(w))
        first = self.p(.6)
        l, k = (w[0], "first") if first else (w[-1], "last")
        return self.np(f"the {k} letter of {w}", f"the {k} letter of the word {w}"), f"The {k} letter of {w} is {l.upper()}.", l.upper()

    def listing(self):
        g = self.r.choice(list(GROUPS))
        n = self.r.randint(2, 6)
        x = GROUPS[g][:n]
        w = str(n) if self.p(.5) else WORDS[n]
        f = self.r.random()
        q = self.pick([f"List {w} {g}.", f"Name {w} {g}.", f"Give me {w} {g}.", f"Can you name {w} {g}?", f"Tell me {w} {g}.", f"Please list {w} {g}.", f"I need {w} {g}.", f"Write down {w} {g}."],
                      [f"Could you list {w} {g}?", f"Please name {w} {g}.", f"Please give me {w} {g}."])
        if f < .5:
            return q, "\n".join(f"{i + 1}. {cap(v)}" for i, v in enumerate(x)), None
        if f < .75:
            return q[:-1] + ", separated by commas" + q[-1], ", ".join(x), None
        return q[:-1] + self.pick([" as bullet points", " as a bullet list"], [" as bullet points"]) + q[-1], "\n".join("- " + cap(v) for v in x), None

    def member(self):
        """Yes/no questions on the groups."""
        g = self.r.choice([g for g in GROUPS if g not in ("countries", "cities", "sports", "clothes")])
        g2 = g if self.p(.5) else self.r.choice(["fruits", "vegetables", "animals", "colours", "planets", "tools", "drinks", "shapes", "instruments", "languages"])
        w = self.r.choice(GROUPS[g])
        if g != g2 and w in GROUPS[g2] or {g, g2} == {"birds", "animals"} or (w in ("orange", "tomato") and g != g2) or (w == "star" and g != g2):
            return self.member()
        one = lambda s: s[:-1]
        q = self.pick([f"Is {w} {a_an(one(g2))}?", f"Does {w} belong to the {g2}?", f"Is {w} one of the {g2}?"], [f"Is {w} a kind of {one(g2)}?"])
        return (q, f"Yes, {w} is {a_an(one(g))}.", "Yes") if g == g2 else (q, f"No, {w} is {a_an(one(g))}.", "No")

    def translate(self):
        l = self.r.choice(list(TRANS))
        w = self.r.choice(list(TRANS[l]))
        q = self.pick([f'How do you say "{w}" in {l}?', f"How do you say {w} in {l}?", f"What is {w} in {l}?", f"Translate {w} into {l}.", f'Translate "{w}" to {l}.', f"What is the {l} word for {w}?"],
                      [f'What does "{w}" mean in {l}?', f"Please translate {w} into {l}."])
        return q, f'"{cap(w)}" in {l} is "{TRANS[l][w]}".', TRANS[l][w]

    def emoji(self):
        w = self.r.choice(list(EMOJI))
        return self.pick([f"Show me {a_an(w)} emoji.", f"Send me {a_an(w)} emoji.", f"Give me {a_an(w)} emoji.", f"What is the emoji for {a_an(w)}?", f"Emoji of {a_an(w)}?"],
                         [f"Please show me {a_an(w)} emoji.", f"Can you send me {a_an(w)} emoji?"]), EMOJI[w], None

    def nacelle(self):
        a, tr, he = self.r.choice(NACELLE)
        return self.pick(tr, he), a, None

    def code(self):
        l = self.r.choice(list(CODE))
        q = self.pick([f"Write hello world in {l}.", f"Write a hello world program in {l}.", f"Show me hello world in {l}.", f"How do I print hello world in {l}?", f"Give me a {l} hello world."],
                      [f"Please write hello world in {l}.", f"Show me a hello world program in {l}."])
        return q, f"```{FENCE[l]}\n{CODE[l]}\n```", None

    def unknown(self):
        n, c, f = self.r.choice(NAMES), self.r.choice(COUNTRIES)[0], self.r.choice(FAKE)
        k, w, w2 = self.r.choice(CITIES), self.r.choice(THINGS), self.r.choice(THINGS)
        verb, how = self.r.choice("invented painted built discovered wrote founded sold broke designed owns".split()), self.r.choice("tall old deep heavy far long wide fast expensive".split())
        if not self.held and self.p(.5):
            q = self.r.choice([f"Who {verb} the {w}?", f"How {how} is the {w}?", f"When was the {w} built?", f"Why is the {w} so {how}?", f"What is the {self.r.choice(['best', 'oldest', 'largest', 'smallest'])} {w} of {c}?",
                               f"Which {w} did {n} buy?", f"What happened to the {w} in {k}?", f"How many {w}s are in {k}?", f"Where can I find the {w} of {n}?", f"How do I repair a {w}?", f"How does a {w} work?",
                               f"Why does {n} like the {w}?", f"What is the difference between a {w} and a {w2}?", f"How much does a {w} cost in {k}?", f"Who was the first {w} of {c}?", f"Explain the {w} to me.", f"What is the history of {c}?",
                               f"Who {verb} the {w} of {k}?", f"When did {n} find the {w}?", f"What does {n} think about the {w}?", f"Is the {w} of {n} better than the {w2}?"])
            return q, "I don't know that.", None
        q = self.pick([f"What is the capital of {f}?", f"Which language is spoken in {f}?", f"What is the currency of {f}?", f"Who is the president of {c}?", f"What is the weather in {k}?",
                       f"How many people live in {c}?", f"How many people live in {k}?", f"Who won the football match in {k}?", f"What is the phone number of {n}?", f"What time is it in {k}?",
                       f"How old is {n}?", f"Where does {n} live?", "What will happen tomorrow?", "What is the meaning of life?", "Who wrote this book?", f"When was {n} born?",
                       "What is the news today?", "How tall is that mountain?", "What is the price of gold?", f"What did {n} eat today?", f"How far is it from {k} to the moon?",
                       "Explain quantum physics.", "What is the square root of a million?", "Who invented the telephone?", f"What is the highest mountain of {c}?", f"What is the capital of {f}?"],
                      [f"Tell me the capital of {f}.", f"What is the population of {k}?", f"Who is the king of {c}?", f"Who stole the {w} of {c}?", f"How old is the {w} in {k}?", f"What is the address of {n}?", "What is the price of silver?"])
        return q, "I don't know that.", None

    FACTS = dict(capital=9, continent=5, language=5, currency=5, add=13, sub=12, compare=5, problem=3, number=4, calendar=6, animal=6, colour=4, opposite=4, plural=4, spell=5,
                 listing=4, member=3, translate=3, emoji=1, nacelle=5, code=1, unknown=4)

    def fact(self, kind=None):
        kind = kind or self.r.choices(list(self.FACTS), list(self.FACTS.values()))[0]
        return (kind,) + getattr(self, kind)()
