# SPDX-License-Identifier: Apache-2.0
"""Small Jinja templates, one construct each, with what they are rendered with."""

M = [{"role": "system", "content": " Be kind. "}, {"role": "user", "content": "Hi"},
     {"role": "assistant", "content": "Yo\n"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {
    "type": "object", "properties": {"x": {"type": "int", "d": "é\"\n"}}, "n": [1, 2.5, None, True]}}}
CONTEXT = {"messages": M, "tools": [TOOL], "bos_token": "<s>", "eos_token": "</s>", "n": 7,
           "x": 2.5, "s": "aXbXc", "empty": "", "none": None, "yes": True, "d": {"a": 1, "b": "two"},
           "nested": [[1, 2], [3]], "uni": "Straße ÉÈ ñ 猫🙂", "add_generation_prompt": True}

SNIPPETS = [
    # white space around tags
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}  \n b {% endif %}\n c",
    "a \n {%- if true -%} \n b \n {%- endif -%} \n c", "a {%+ if true %}b{% endif +%}\nc",
    "  {% if true +%}\n b{%+ endif %}", "x {# note #} y", "x\n  {# note #}\ny", "x\n{#- note -#}\n y",
    "  {{ 1 }}\n{{ 2 }}\n", "a\n  {{- 1 -}}  \nb", "{% raw %}{{ x }}{% endraw %}", "a\n  {% raw %}\n{% x %}\n  {% endraw %}\nb",
    "{% raw -%}  {{ x }} {%- endraw -%}  z", "\t{% set a = 1 %}\t{{ a }}", "line\r\nline2\r{{ 1 }}\r\n", "{{ 1 }}\n\n", "",
    "\n", "{% if true %}\n\n x{% endif %}", "{{ '{{' }}{{ '%}' }}", "{%if true%}y{%endif%}", "\u00a0{%- if true %}x{% endif %}",
    # literals and operators
    "{{ 1 }} {{ -1 }} {{ 1.5 }} {{ 1_000 }} {{ 1.0 }} {{ 100000.0 * 1000000000000.0 }} {{ 0.1 + 0.2 }} {{ 1 / 3 }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7.5 // 2 }} {{ 7.5 % 2 }} {{ 6 / 3 }}",
    "{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 1 ~ 2 ~ 3 }} {{ 'a' ~ 1 ~ none ~ true }} {{ -2 ** 2 }}",
    "{{ 'a' 'b' \"c\" }} {{ 'a\\n\\t\\\\ \\' \\x41 \\u00e9 \\q' }} {{ \"it's\" }}", "{{ 'a' * 3 }} {{ 'a' + 'b' }}",
    "{{ true }} {{ False }} {{ none }} {{ None }} {{ True and 3 }} {{ 0 or 'x' }} {{ not 1 }} {{ not '' }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ 'a' != 'b' }} {{ [1] == [1] }} {{ (1,) == [1] }}",
    "{{ 'X' in s }} {{ 'Z' not in s }} {{ 1 in [1, 2] }} {{ 'a' in d }} {{ 'q' in nothing }} {{ not 'a' in d }}",
    "{{ 'y' if n > 3 else 'n' }} {{ 'y' if n > 30 }} {{ 1 if false else 2 if false else 3 }}", "{{ [1, 'a', none, 2.0, [true], {'k': 'v'}] }} {{ (1, 2) }} {{ (1,) }} {{ () }} {{ {} }}",
    "{{ {'a': 1, 'b': [1]} }} {{ {'a': 1}['a'] }} {{ {'a': 1}.a }} {{ \"a'b\" }} {{ [\"a'b\", 'a\"b', 'a\\nb\\\\'] }}",
    "{{ 1, 2 }}", "{{ n is defined }} {{ q is defined }} {{ q is undefined }} {{ none is none }} {{ q is none }}",
    # parts
    "{{ s[0] }} {{ s[-1] }} {{ s[1:3] }} {{ s[:-1] }} {{ s[::-1] }} {{ s[::2] }} {{ s[5:2] }} {{ s[10:] }} {{ uni[7:9] }} {{ uni[-1] }}",
    "{{ nested[0][1] }} {{ nested[0][-1] }} {{ nested[1:] }} {{ nested[::-1] }} {{ nested.0 }} {{ nested[9] }}|",
    "{{ d.a }} {{ d['b'] }} {{ d.q }}| {{ d['q'] }}| {{ d.get('a') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ messages[0].role }} {{ messages[0]['content'] }}",
    "{{ messages[1:][0].content }} {{ messages[-1]['role'] }} {{ (messages[1:])[-1].role }}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{{ d.keys() | list }}{{ d.values() | list }}",
    # strings
    "{{ '  a b '.strip() }}|{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abc'.lstrip('ba') }}",
    "{{ s.split('X') }} {{ ' a  b '.split() }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.split(',')[-1] }} {{ ''.split(',') }} {{ 'a  b c'.split(None, 1) }} {{ 'a,b,c'.rsplit(',', 1) }}",
    "{{ s.startswith('a') }} {{ s.endswith('c') }} {{ s.startswith(('q', 'a')) }} {{ s.upper() }} {{ s.lower() }} {{ uni.upper() }} {{ uni.lower() }} {{ 'hello world'.capitalize() }}",
    "{{ s.replace('X', '--') }} {{ s.replace('X', '', 1) }} {{ s.find('X') }} {{ s.find('Z') }} {{ s.count('X') }} {{ ','.join(['a', 'b']) }}",
    "{{ 'a\\nb\\n\\nc'.splitlines() }} {{ '12'.isdigit() }} {{ 'a1'.isdigit() }} {{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }}",
    "{{ 'a</think>\\nb'.split('</think>')[-1].lstrip('\\n') }} {{ '<think>\\nq\\n</think>\\n\\nb'.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}",
    # filters
    "{{ messages[0].content | trim }}|{{ '--a--' | trim('-') }}|{{ 'ab' | upper }}{{ 'AB' | lower }} {{ 'hello wORLD-foo (bar' | title }} {{ 'hELLO' | capitalize }}",
    "{{ messages | length }} {{ s | length }} {{ uni | length }} {{ d | count }} {{ q | length }}", "{{ q | default('z') }} {{ '' | default('z') }} {{ '' | default('z', true) }} {{ none | default('z') }} {{ none | d('z', boolean=true) }} {{ q | default }}|",
    "{{ [3, 1] | first }} {{ [3, 1] | last }} {{ 'abc' | first }} {{ 'abc' | last }} {{ [] | first }}|", "{{ [1, 2] | join(', ') }} {{ [1, none] | join }} {{ messages | join(',', attribute='role') }}",
    "{{ 'abc' | list }} {{ d | list }} {{ [1, 2] | reverse | list }} {{ 'abc' | reverse }} {{ range(3) | list }} {{ range(1, 7, 2) | list }} {{ range(3, 0, -1) | list }}",
    "{{ messages | map(attribute='role') | list }} {{ messages | map(attribute='role') | join('-') }} {{ ['a', 'b'] | map('upper') | list }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | list }} {{ [1, 0, 2] | select | list }} {{ [1, 2, 3] | select('odd') | list }} {{ [1, 2, 3] | reject('gt', 1) | list }} {{ messages | selectattr('role', 'in', ['user', 'tool']) | list | length }}",
    "{{ messages | selectattr('content') | list | length }} {{ messages | selectattr('q', 'defined') | list | length }}", "{{ '7' | int }} {{ 'q' | int }} {{ 'q' | int(3) }} {{ 7.9 | int }} {{ '1.5' | float }} {{ 3 | float }} {{ -3 | abs }} {{ 3 | string + 'a' }}",
    "{{ 'a-b-c' | replace('-', '+') }} {{ 'a-b-c' | replace('-', '+', 1) }} {{ 'a\\nb\\n\\nc' | indent }} {{ 'a\\nb' | indent(2) }} {{ 'a\\nb' | indent(2, true) }} {{ 'a\\n\\nb' | indent(1, first=true, blank=true) }}",
    "{{ d | items | list }} {% for k, v in d | items %}{{ k }}{% endfor %} {{ '<b>' | safe }}",
    "{{ tools[0] | tojson }}", "{{ tools[0] | tojson(indent=4) }}", "{{ tools | tojson(indent=2) }}", "{{ [] | tojson(indent=2) }} {{ {} | tojson(indent=2) }} {{ uni | tojson }} {{ 'a/<b>&\"\\\\\\u0001' | tojson }} {{ 1.0 | tojson }} {{ none | tojson }} {{ true | tojson }}",
    "{{ tools[0] | tojson(separators=(',', ':')) }} {{ {'é': 'ü🙂'} | tojson(ensure_ascii=true) }} {{ {1: 2} | tojson }}",
    "{{ -1 | abs }} {{ 'a' ~ 'b' | upper }} {{ ('a' ~ 'b') | upper }} {{ 'a b' | upper | lower }} {{ not 'a' | upper == 'A' }}",
    # tests
    "{{ s is string }} {{ n is string }} {{ d is mapping }} {{ messages is iterable }} {{ d is iterable }} {{ s is iterable }} {{ n is iterable }} {{ messages is sequence }} {{ d is sequence }} {{ s is sequence }}",
    "{{ n is number }} {{ x is number }} {{ yes is number }} {{ n is integer }} {{ yes is integer }} {{ x is float }} {{ yes is boolean }} {{ n is boolean }} {{ yes is true }} {{ 1 is true }} {{ false is false }}",
    "{{ 4 is even }} {{ 4 is odd }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ n is eq 7 }} {{ n is gt(3) }} {{ n is not none }} {{ not n is none }} {{ n is in [7] }} {{ n is defined and n is not none }}",
    "{% if s is string and s is not mapping %}y{% endif %} {{ range is callable }} {{ q is callable }}",
    # statements
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}|{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }}{{ loop.last }};{% else %}none{% endfor %}", "{% for m in [] %}x{% else %}empty{% endfor %} {% for m in q %}x{% else %}nothing{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}>{{ loop.nextitem.role if not loop.last }};{% endfor %}",
    "{% for a in [1, 2] %}{% for b in 'xy' %}{{ a }}{{ b }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in range(4) %}{{ loop.cycle('a', 'b') }}{{ loop.changed(i // 2) }}{% endfor %}", "{% for c in 'aé🙂' %}[{{ c }}]{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% set x = 5 %}{{ x }}{% for i in [1] %}{% set x = 6 %}{{ x }}{% endfor %}{{ x }}", "{% if true %}{% set y = 1 %}{% endif %}{{ y }}", "{% set ns = namespace(a=1, found=false) %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% set ns.b = 'z' %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.found }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = (1, 2) %}{{ c }}{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }}{% endfor %}", "{% set t %}a {{ n }}\n{% endset %}[{{ t }}]{% set u | upper | trim %} abc {% endset %}[{{ u }}]",
    "{% if n == 1 %}1{% elif n == 7 %}7{% elif true %}t{% else %}e{% endif %}{% if q %}q{% elif none %}n{% else %}e{% endif %}",
    "{% macro f(a, b='B', c=none) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(1, c=3) }}{{ f(b=1, a=2) }}{{ f() }}", "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{%- macro g(m) -%}\n  {%- for k, v in m | items -%}\n    {{ k }}: {{ v if v is string else v | tojson }}\n  {%- endfor -%}\n{%- endmacro -%}\n{{ g(d) | trim }}", "{% macro f(x) %}{{ x }}{{ n }}{% endmacro %}{% set r = f('a') %}{{ r | upper }}{{ r | length }}",
    "{{ dict(a=1, b=2) }} {{ dict(d, c=3) }} {{ d.copy() }} {{ namespace(a=1).a }}", "{{ q }}|{{ q ~ 'a' }}|{{ none ~ 'a' }}|{{ q | trim }}|{{ q == q2 }}|{{ q is defined }}", "{% generation %}x{% endgeneration %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}A: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n{% else %}U: {{ m.content }}\n{% endif %}{% endfor %}",
    "{{ strftime_now('%Y') | length }}", "{{ messages | tojson }}", "{% set m = messages + [{'role': 'x', 'content': 'y'}] %}{{ m | length }}{{ m[-1].role }}", "{{ [1, 2] + [3] }} {{ 'é' < 'z' }} {{ [1, 2] < [1, 3] }}",
    "{% for m in messages[::-1] %}{% set i = (messages | length - 1) - loop.index0 %}{{ i }}{{ m.role }}{% endfor %}", "{{ 'a' if q is defined and q else 'b' }} {{ (q or 'z') }} {{ (q and 'z') }}|",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ message['content'].strip() }}{% endfor %}",
    # what fails
    "{{ raise_exception('no') }}", "{{ q.a }}", "{{ q['a'] }}", "{{ d.a.b.c }}", "{{ 1 + 'a' }}", "{{ q + 'a' }}", "{{ none + 'a' }}", "{{ f(1) }}", "{{ 1 / 0 }}", "{{ 1 < 'a' }}",
    "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}", "{{ 'a' in 5 }}", "{{ 1 in 'a' }}", "{% if %}{% endif %}", "{% if true %}", "{% endif %}", "{{ 1", "{{ }}", "{% foo %}", "{{ a b }}", "{{ 'a }}", "{% for %}", "{# x",
    "{% set d.a = 1 %}", "{{ [1, 2].append(3) }}", "{{ d.update({}) }}", "{% set a, b = [1] %}", "{{ n() }}", "{{ loop.index }}", "{{ q | tojson }}", "{{ n | length }}", "{{ s.split('') }}", "{% raw %}x", "{{ d | nofilter }}", "{{ d is notest }}",
    "{{ 'a'[0:1:0] }}", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "{{ f(1)", "{{ {1: 2 }", "{{ [1, }}",
]
