#!/usr/bin/env python3
"""Writes cases.json: templates, contexts, and what Python's jinja2 (set up as Hugging Face's transformers does) makes of them.

Needs python3-jinja2. Each case is [template, expected]; `expected` is null where Python raises an error. The
whole templates in templates/*.jinja are ours, in the manner of well-known model families; each renders every chat below.
"""
import copy
import datetime
import json
import pathlib

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = datetime.datetime(2024, 7, 26, 9, 5, 7)  # a Friday; the test's clock says the same


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def raise_exception(message):
    raise TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENVIRONMENT = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols", "jinja2.ext.do"])
ENVIRONMENT.filters["tojson"] = tojson
ENVIRONMENT.globals["raise_exception"] = raise_exception
ENVIRONMENT.globals["strftime_now"] = NOW.strftime

CONTEXT = {
    "s": "Hello, World", "u": "Zürich ☃ 😀", "e": "", "sp": "  a  b \n", "n": 7, "neg": -7, "f": 2.5, "big": 1e300,
    "t": True, "fa": False, "no": None, "l": [3, 1, 2], "words": ["banana", "Apple", "cherry", "apple"],
    "d": {"b": 1, "a": {"x": [1, 2.0, None, True, "é\"'\n"]}, "items": "key"}, "empty": [], "ed": {},
    "nested": [[1, 2], [3, 4]], "lines": "one\ntwo\n\nthree",
    "people": [{"name": "Ann", "age": 30, "city": {"id": 2}}, {"name": "bob", "age": 25, "city": {"id": 1}},
               {"name": "Cid", "age": 30, "city": {"id": 1}}],
}

EXPRESSIONS = r"""
1 + 2 * 3 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 7 / 2 | 6 / 2 | 2 ** 10 | 2 ** -1 | 7.5 // 2 | -7.5 % 2 | 1e3 | 1_000
0.1 + 0.2 | 1e16 | 1e15 | 123456789.123 | 1e-5 | 0.0001 | big | big * big | -0.0 | 5.0 | 1.5e300 * 10 | n / 0 | n % 0 | 2 ** 3 ** 2
'a' 'b' | 'a' + 'b' | 'a' ~ 1 ~ none ~ true ~ 1.0 | 'ab' * 3 | 3 * 'ab' | [1] * 2 | [1] + [2] | (1,) + (2, 3) | 'a' + 1 | 1 + 'a'
-2 ** 2 | -n | +n | not n | not e | - 'a' | 1 if t else 2 | 1 if fa | (1 if fa) is defined | 1 if fa else 2 if fa else 3
1 < 2 < 3 | 1 < 2 > 3 | 1 == 1.0 | true == 1 | 'a' < 'b' | 'a' == 1 | none == none | [1, 2] == [1, 2] | (1, 2) == [1, 2] | {'a': 1} == {'a': 1.0}
1 in [1, 2] | 'ell' in s | 'a' in {'a': 1} | 3 not in [1, 2] | 1 not in [1] and true | x in s | 'x' in undefined_thing | 1 in 2 | [] < [1] | 1 < 'a'
t and n | fa and n | e or 'default' | e or no or 0 | t and not fa | 1 and 2 or 3 | not t or t
s[0] | s[-1] | s[20] | u[1] | u[-1] | u[7:8] | s[1:3] | s[::-1] | u[::-1] | s[::2] | s[-3:] | s[:-3] | s[5:2] | l[1:] | l[::-1] | l[-1] | l[5] | l[-9] | s[0:100:3] | l[:] | l[::0]
d.b | d['b'] | d.a.x[4] | d.missing | d.missing.more | d['items'] | missing | missing.x | missing['x'] | missing() | no.x | n.x | s.x | l.x | people[0].city.id | people[0]['city']['id'] | nested[1][0] | d.get('b') | d.get('zz') | d.get('zz', 5)
{'a': 1, 'b': [1, 'x', none]} | [] | {} | () | (1,) | (1, 2) | [1, [2, (3,)]] | {'k"': "it's"} | ['\n\t\\', "é", '\x01', '☃'] | [1.0, true, none, 'a\'b"c'] | {1: 2, none: 3, true: 4}
'\x41\u00e9\U0001F600\101\n\q' | "a\
b" | 'it\'s' | "\"" | '\u2028' | ''
range(5)|list | range(1, 10, 3)|list | range(5, 0, -2)|list | range(0)|list | dict(a=1, b=2) | dict({'x': 1}, y=2) | dict([('p', 1)])
l|length | s|length | u|length | ed|length | missing|length | n|length
"""

# One expression a line, since '|' is their filter sign.
MORE_EXPRESSIONS = r"""
s|upper
s|lower
u|upper
u|lower
'hello world-foo (bar) it\'s'|title
'hello world it\'s'.title()
'hELLO wORLD'|capitalize
'éa'|capitalize
n|upper
no|upper
missing|upper
sp|trim
'xxaxx'|trim('x')
'☃a☃'|trim('☃')
'\u00a0a\u3000'|trim|length
s|replace('l', 'L')
s|replace('l', 'L', 1)
s|replace('', '-')
5|replace(5, 6)
l|join(', ')
l|join
s|join('-')
people|join(', ', attribute='name')
people|map(attribute='city.id')|join('/')
[1, none, true, 1.5]|join(' ')
words|sort
words|sort|list
words|sort(case_sensitive=true)
words|sort(reverse=true)
l|sort
people|sort(attribute='age')|map(attribute='name')|list
people|sort(attribute='age,name')|map(attribute='name')|list
people|sort(attribute='age', reverse=true)|map(attribute='name')|list
[1, 'a']|sort
d|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort(true)
{'b': 1, 'A': 2, 'c': 0}|dictsort(by='value')
{'b': 1, 'A': 2}|dictsort(false, 'key', true)
words|unique|list
words|unique(true)|list
people|unique(attribute='age')|map(attribute='name')|list
l|reverse|list
s|reverse
u|reverse
l|first
l|last
s|first
u|last
empty|first
empty|last
missing|first
d|first
d|last
l|min
l|max
words|min
words|max
people|max(attribute='age')
empty|min
l|sum
people|sum(attribute='age')
l|sum(start=10)
[0.1, 0.2]|sum
empty|sum
['a']|sum
l|list
s|list
d|list
missing|list
d|items|list
missing|items|list
no|items|list
people|map('length')|list
words|map('upper')|list
words|map('replace', 'a', '4')|list
people|map(attribute='zip', default='-')|list
words|map('nofilter')|list
l|select('odd')|list
l|select('gt', 1)|list
l|reject('even')|list
[0, 1, '', 'a', none]|select|list
[0, 1, '', 'a', none]|reject|list
people|selectattr('age', 'equalto', 30)|map(attribute='name')|list
people|selectattr('age', '==', 30)|list|length
people|rejectattr('age', 'gt', 26)|map(attribute='name')|list
people|selectattr('zip')|list
people|selectattr('zip', 'defined')|list
people|selectattr('name', 'in', ['Ann', 'Cid'])|map(attribute='name')|list
people|groupby('age')|list
people|groupby('city.id')|map('first')|list
[1, 2, 3, 4, 5]|batch(2)|list
[1, 2, 3, 4, 5]|batch(2, 'x')|list
[1, 2, 3, 4, 5]|slice(3)|list
[1, 2, 3, 4, 5]|slice(3, 'x')|list
l|count
missing|default('x')
no|default('x')
no|default('x', true)
e|d('x', true)
missing|d
'42'|int
' 42 '|int
'4.7'|int
'x'|int
'x'|int(5)
'ff'|int(0, 16)
'0xff'|int(base=16)
4.9|int
-4.9|int
true|int
no|int
'1_000'|int
'1.5'|float
'x'|float
'1e3'|float
3|float
'inf'|float
n|abs
neg|abs
-2.5|abs
2.5|round
3.5|round
2.675|round(2)
2.345|round(1)
n|round
2.1|round(method='ceil')
2.9|round(0, 'floor')
1234.5|round(-2)
1250|round(-2)
n|string
f|string
no|string
[1]|string
s|string|length
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, true, true)
lines|indent('> ', first=true)
e|indent
'<a href="x">\'&'|escape
'<b>'|e
'<b>'|safe
'a b c'|wordcount
'it\'s a-b ünï_1'|wordcount
'%s is %d'|format('x', 5)
'%(a)s-%(b)05.1f'|format(a=1, b=2.25)
'%s' % 'x'
'%s %s' % ('a', 'b')
'%5d|%-5d|%05d|%+d|%x|%X|%o' % (1, 2, 3, 4, 255, 255, 8)
'%.2f %5.1f %e %g %%' % (1.005, 2.25, 12345.678, 0.0001)
'%r' % ('it',)
'%s'|format
'%d' % 'x'
'%s' % (1, 2)
s|center(20)
'ab'|center(5)
'abc'|center(6)
('word ' * 60)|truncate|length
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11)
'foo bar baz qux'|truncate(9, false, '..', 0)
'a b/ü?&'|urlencode
{'a b': 'c/d', 'e': 1}|urlencode
d|attr('b')
d|tojson
d|tojson(indent=2)
d|tojson(indent=0)
d|tojson(separators=(',', ':'))
d|tojson(sort_keys=true)
u|tojson
u|tojson(ensure_ascii=true)
'\x01\x7f</script>\u2028\b\f'|tojson
[1.0, 1e100, 0.1, -0.0, 1e-7, 12345678901234567]|tojson
[true, false, none, [], {}]|tojson
[[], {}, [1]]|tojson(indent=4)
{1: 'a', 2.5: 'b', true: 'c', none: 'd'}|tojson
missing|tojson
{missing: 1}|tojson
{range: 1}|tojson
{(1, 2): 1}|tojson
{missing: 1, (1, 2): 2}
(1, 2)|tojson
n|nofilter
s is string
n is string
n is number
t is number
t is integer
n is integer
f is float
n is float
t is boolean
n is boolean
no is none
missing is none
missing is defined
no is defined
missing is undefined
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
n is sequence
l is iterable
s is iterable
n is iterable
missing is iterable
range is callable
s is callable
n is odd
n is even
n is divisibleby 7
n is divisibleby(3)
n is eq 7
n is equalto(7)
n is ne 7
n is gt 3
n is ge 7
n is lt 3
n is le 7
1 is in [1, 2]
1 is not in [1, 2]
'a' is in 'abc'
t is true
n is true
fa is false
no is sameas none
l is sameas l
l is sameas [3, 1, 2]
'abc' is lower
'ABC' is upper
'aBC' is upper
'12' is upper
not missing is defined
missing is not defined and t
n is nosuchtest
'join' is filter
s.upper()
s.lower()
s.startswith('Hello')
s.startswith(('x', 'He'))
s.endswith('ld')
s.startswith('World', 7)
s.find('o')
s.find('zz')
s.find('o', 5)
s.rfind('o')
u.find('😀')
s.index('o')
s.index('zz')
s.count('l')
s.count('')
s.replace('l', '')
s.replace('l', 'L', 1)
s.split(', ')
s.split('l')
s.split('l', 1)
s.rsplit('l', 1)
sp.split()
'a b c d'.split(none, 2)
' a  b c '.rsplit(none, 1)
' a b '.rsplit(none, 1)
' a b '.rsplit(none, 0)
' a b '.rsplit(none, 2)
' a b '.split(none, 0)
'a b c'.split(' ', maxsplit=1)
''.split()
''.split(',')
s.split('')
lines.splitlines()
'a\r\nb\rc\n'.splitlines()
'a\nb'.splitlines(true)
sp.strip()
'xax'.strip('x')
'xax'.lstrip('x')
'xax'.rstrip('x')
sp.lstrip()
sp.rstrip()
'-'.join(['a', 'b'])
'-'.join('abc')
'-'.join([1])
'{} {}'.format('a', 1)
'{0}-{1}-{0}'.format('a', 'b')
'{x}'.format(x=5)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:.2f}|{:5d}|{:05d}|{:,}|{:x}|{:%}'.format(1.005, 42, 42, 1234567, 255, 0.25)
'{{}}'.format()
'{}'.format()
'{a.b} {c[d]}'.format(a={'b': 1}, c={'d': 2})
'{!r}'.format('x')
'123'.isdigit()
'12a'.isdigit()
'abc'.isalpha()
'ab1'.isalnum()
' \t'.isspace()
''.isdigit()
'AB1'.isupper()
'ab1'.islower()
'42'.zfill(5)
'-42'.zfill(5)
'ab'.center(5, '*')
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '.')
'prefix-x'.removeprefix('prefix-')
'x-suffix'.removesuffix('-suffix')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
s.nosuch()
l.index(1)
l.index(9)
l.count(1)
l.copy()
d.keys()|list
d.values()|list
d.items()|list
d.copy().b
(1, 2).count(1)
joiner(', ') is callable
cycler('a', 'b').next()
strftime_now('%d %b %Y')
strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %p %I %y %-d %%')
raise_exception('stop here')
namespace(a=1).a
namespace(a=1).b
namespace({'a': 5}).a
dict(**{'a': 1})
range(*[1, 4])|list
range(100001)|list|length
[1, 2,]
{'a': 1,}
(1, 2,)
l[0:2,]
1.5.x
l.0
nested.1.0
'a' if t else 'b' ~ 'c'
1 ~ 2 + 3
2 * 3 ~ 4
-1|abs
'a'|upper ~ 'b'
'a' ~ 'b'|upper
not 1 == 2
1 if 0
a.b.c if fa else 'safe'
missing ~ 'x'
missing + 'x'
missing == missing2
missing == none
missing < 1
no + 1
[missing]
l == l.copy()
"""

STATEMENTS = [
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in empty %}a{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}no{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}no{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}", "{% for x in n %}{% endfor %}",
    "{% for x in missing %}a{% endfor %}b", "{% for x in none %}a{% endfor %}", "{% for a, b in nested %}{{ a + b }} {% endfor %}",
    "{% for (a, b) in nested %}{{ a }}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}"
    "{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}"
    "{{ loop.changed(x > 1) }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}{{ loop is defined }}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% else %}e{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}{{ x }}{% endfor %}",
    "{% for t in tree recursive %}{{ t.n }}{% if t.c %}({{ loop(t.c) }}){% endif %}{% endfor %}",
    "{% for p in people|sort(attribute='name') %}{{ p.name }} {% endfor %}",
    "{% for g in people|groupby('age') %}{{ g.grouper }}:{{ g.list|length }} {% endfor %}",
    "{% for age, ps in people|groupby('age') %}{{ age }}:{{ ps|map(attribute='name')|join('+') }} {% endfor %}",
    "{% set x = 1 %}{% for y in l %}{% set x = x + y %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(x=1) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}",
    "{% set d.x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = l %}", "{% set (a, b) = nested %}{{ b }}",
    "{% set x %}a{{ n }}b{% endset %}{{ x }}{{ x|length }}", "{% set x | upper | replace('A', 'z') %}abc{% endset %}{{ x }}",
    "{% set ns = namespace() %}{% set ns.t %}x{% endset %}{{ ns.t }}", "{% if t %}{% set z = 5 %}{% endif %}{{ z }}",
    "{% if fa %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if fa %}a{% elif fa %}b{% else %}c{% endif %}", "{% if e %}a{% endif %}",
    "{% if missing %}a{% else %}b{% endif %}", "{% if l and d and s %}y{% endif %}", "{% if not empty and not ed %}y{% endif %}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(z=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, z=3) }}",
    "{% macro f(n) %}{% if n > 1 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% macro m(x) %}{{ caller(x + 1) }}{% endmacro %}{% call(y) m(1) %}<{{ y }}{{ n }}>{% endcall %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% for x in l %}{% call m() %}{{ x }}{% endcall %}{% endfor %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ m.name }}{{ a }}{% endmacro %}{{ m(1)|upper }}",
    "{% macro m() %}{{ q }}{% endmacro %}{% set q = 5 %}{{ m() }}", "{% macro m() %}{% set n = 1 %}{{ n }}{% endmacro %}{{ m() }}{{ n }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% filter upper %}a{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}aaa{% endfilter %}", "{% generation %}x{{ n }}{% endgeneration %}", "{% do l|length %}x",
    "{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}",
    "{% raw %}{{ x }}{% if %}{% endraw %}y", "{%- raw -%} a {%- endraw -%} b", "a {# c #} b", "a {#- c -#} b", "{# {{ x }} #}x",
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}  \n  b\n  {% endif %}  \nc\n\n", "a  {%- if t -%}  b  {%- endif -%}  c",
    "a\n  {%+ if t %}b{% endif +%}\nc", "  {{ n }}  \n{{ n -}}  \n x {{- n }}", "{% if t %}\r\na\r\n{% endif %}\r\nb\r\n", "\n\n{{ n }}\n\n",
    "  {# c #}  \nx", "  {# c #}\nx", "x {% set y = 1 %}\n y", "{{ '{{' }}{{ '%}' }}", "{{ {'a': {'b': 1}}.a.b }}", "{{ {'a': {}} }}", "{{ s }",
    "{{ s", "{% if %}", "{% if t %}", "{% endif %}", "{% for x %}{% endfor %}", "{% nosuch %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 'a }}",
    "{% set x = %}", "{% break %}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ s | }}", "{{ a b }}", "{{ 1 is }}", "{% else %}", "{{ f(a=1, 2) }}",
    "{# open", "{% raw %}x", "{{ a.b. }}", "{{ [1, 2 }}", "{{ 'a' 1 }}", "{{ x is a is b }}", "{{ $ }}", "{% set true = 1 %}", "{{ 1, 2 }}", "",
    "{% set x = 1, 2 %}{{ x }}", "{{ 'a\nb' }}", "{% if 1 %}\n  x\n{% endif %}", "{{ s }}\n", "{{ s }}\n\n", "{%- set x = 1 -%}\n\n{{ x }}",
    "{% for m in people %}{{- m.name -}}{% if not loop.last %}, {% endif %}{%- endfor %}.", "{{ 'x'\n  ~ 'y' }}",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}", "{% set ns = namespace(l=[]) %}{% for x in l %}{% set ns.l = ns.l + [x * 2] %}{% endfor %}{{ ns.l }}",
    "{% set x = 'outer' %}{% macro m() %}{{ x }}{% endmacro %}{% for x in l %}{{ m() }}{% endfor %}",
    "{% if x is defined and x %}a{% endif %}{% set x = x if x is defined else 'd' %}{{ x }}",
]

TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "Weather in a city.\nIn <degrees> & \"more\".",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "e.g. Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "array", "items": {"type": "integer"}},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": ["number", "null"]}}}}}}}]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdef123", "type": "function", "function": {
    "name": "get_weather", "arguments": {"city": "Zürich", "days": [1, 2], "x": 1.0, "y": None, "z": True}}}]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"temp\": 21}"}
SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": " What's the weather in Zürich? 🌧 "}
THOUGHT = {"role": "assistant", "content": "<think>\nHmm.\n</think>\n\nRain."}
REASONED = {"role": "assistant", "content": "Rain.", "reasoning_content": "Clouds\nabove."}
AGAIN = {"role": "user", "content": "And \"tomorrow\"?\n"}
CHATS = [
    {"messages": [USER]},
    {"messages": [SYSTEM, USER, THOUGHT, AGAIN]},
    {"messages": [USER, REASONED, AGAIN], "enable_thinking": False, "reasoning_effort": "high"},
    {"messages": [USER, REASONED], "add_generation_prompt": False},
    {"messages": [SYSTEM, USER], "tools": TOOLS},
    {"messages": [SYSTEM, USER, CALL, RESULT], "tools": TOOLS},
    {"messages": [USER, CALL, RESULT, REASONED, AGAIN], "tools": TOOLS, "documents": [{"title": "T", "text": "Body."}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look:"}, {"type": "image"}]}]},
    {"messages": [USER, AGAIN, SYSTEM]},
]


def render(template, context):
    try:
        return ENVIRONMENT.from_string(template).render(**copy.deepcopy(context))
    except Exception:  # whatever Python raises, ours must raise its one error
        return None


def main():
    expressions = [e.strip() for line in EXPRESSIONS.strip().split("\n") for e in line.split(" | ")]
    expressions += MORE_EXPRESSIONS.strip("\n").split("\n")
    context = dict(CONTEXT, tree=[{"n": 1, "c": [{"n": 2}, {"n": 3, "c": [{"n": 4}]}]}, {"n": 5}])
    cases = [["{{ " + e + " }}", render("{{ " + e + " }}", context)] for e in expressions]
    cases += [[t, render(t, context)] for t in STATEMENTS]
    whole = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        for i, chat in enumerate(CHATS):
            full = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True, **chat}
            whole.append([path.name, i, render(path.read_text(), full)])
    out = {"context": context, "cases": cases, "chats": CHATS, "whole": whole}
    (HERE / "cases.json").write_text(json.dumps(out, ensure_ascii=False, indent=0) + "\n")
    print(len(cases), "cases,", len(whole), "whole renders,", sum(w[2] is None for w in whole), "of them errors")


if __name__ == "__main__":
    main()
