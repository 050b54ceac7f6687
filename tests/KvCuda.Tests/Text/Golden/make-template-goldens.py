# Makes the template goldens with Jinja 2, set up as Hugging Face's library sets it up for chat templates.
#   python3 make-template-goldens.py FOLDER
import datetime, glob, json, os, random, sys
import jinja2, jinja2.ext, jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

FOLDER = sys.argv[1]

class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _body(self, context, caller):
        return caller()

def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)

env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
    x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: datetime.datetime(2024, 7, 4, 9, 5, 7).strftime(f)

def render(template, variables):
    try:
        return env.from_string(template).render(**variables)
    except Exception:
        return None

# ---- snippets: one template a line in snippets.txt (\n, \r, \t written out), and random white space control
variables = json.load(open(os.path.join(FOLDER, "snippet-variables.json")))
snippets = [line.rstrip("\n").replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t")
            for line in open(os.path.join(FOLDER, "snippets.txt"), newline="\n")]
random.seed(7)
parts = ["{% if t %}", "{%- if t %}", "{%- if t -%}", "{% if t -%}", "{%+ if t %}", "{% if t +%}", "{% endif %}", "{%- endif %}",
         "{% endif -%}", "{%- endif -%}", "{%+ endif +%}", "{{ n }}", "{{- n }}", "{{ n -}}", "{# c #}", "{#- c -#}", "\n", "\n\n", " ",
         "  ", "\t", "x", "y z", "\r\n", "{%- set a = 1 -%}", "{{ a }}", "{% raw %}{{{% endraw %}", "{%- raw -%} q {%- endraw -%}"]
for _ in range(300):
    open_ifs, template = 0, ""
    for _ in range(random.randint(1, 12)):
        part = random.choice(parts)
        if "endif" in part:
            if open_ifs == 0:
                continue
            open_ifs -= 1
        elif "if t" in part:
            open_ifs += 1
        template += part
    snippets.append(template + "{% endif %}" * open_ifs)

# ---- whole templates over conversations
conversations = json.load(open(os.path.join(FOLDER, "conversations.json")))
templates = {os.path.basename(p): open(p, newline="").read() for p in sorted(glob.glob(os.path.join(FOLDER, "*.jinja")))}
chats = [[name, chat, render(source, conversations[chat])] for name, source in templates.items() for chat in conversations]
with open(os.path.join(FOLDER, "templates.json"), "w") as out:
    json.dump({"snippets": [[s, render(s, variables)] for s in snippets], "chats": chats}, out, ensure_ascii=False, indent=0)
