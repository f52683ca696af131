"""The chat format of nacelle-demo: ChatML with tools, as a template for Jinja engines and as render() for training."""
import json

TOOLS_HEAD = "# Tools\nYou can call these functions:\n<tools>\n"
TOOLS_TAIL = ("</tools>\nTo call one, reply with:\n<tool_call>\n"
              '{"name": <function name>, "arguments": <arguments as JSON>}\n</tool_call>')

# The same as render() below, for Jinja engines.
CHAT_TEMPLATE = (
    "{%- set sys = '' %}{%- if messages[0]['role'] == 'system' %}{%- set sys = messages[0]['content'] %}{%- endif %}"
    "{%- if tools %}"
    "{{- '<|im_start|>system\n' }}{%- if sys %}{{- sys + '\n\n' }}{%- endif %}"
    "{{- '# Tools\nYou can call these functions:\n<tools>\n' }}"
    "{%- for tool in tools %}{{- tool | tojson }}{{- '\n' }}{%- endfor %}"
    "{{- '</tools>\nTo call one, reply with:\n<tool_call>\n' }}"
    "{{- '{\"name\": <function name>, \"arguments\": <arguments as JSON>}\n</tool_call><|im_end|>\n' }}"
    "{%- elif sys %}{{- '<|im_start|>system\n' + sys + '<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if not (loop.first and message['role'] == 'system') %}"
    "{{- '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['content'] %}{{- message['content'] }}{%- endif %}"
    "{%- if message['tool_calls'] %}{%- for tool_call in message['tool_calls'] %}"
    "{%- if tool_call['function'] %}{%- set tool_call = tool_call['function'] %}{%- endif %}"
    "{%- if message['content'] or not loop.first %}{{- '\n' }}{%- endif %}"
    "{{- '<tool_call>\n{\"name\": \"' + tool_call['name'] + '\", \"arguments\": ' }}"
    "{%- if tool_call['arguments'] is string %}{{- tool_call['arguments'] }}{%- else %}{{- tool_call['arguments'] | tojson }}{%- endif %}"
    "{{- '}\n</tool_call>' }}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}").replace("\n", "\\n")


def js(x):
    return json.dumps(x, ensure_ascii=False)


def render(messages, tools=None, gen=False):
    """Returns [(role, text)]: the pieces whose concatenation is the ChatML text."""
    out, msgs, sys = [], list(messages), ""
    if msgs and msgs[0]["role"] == "system":
        sys = msgs.pop(0)["content"]
    if tools:
        sys = (sys + "\n\n" if sys else "") + TOOLS_HEAD + "".join(js(t) + "\n" for t in tools) + TOOLS_TAIL
    if sys:
        out.append(("system", "<|im_start|>system\n" + sys + "<|im_end|>\n"))
    for m in msgs:
        if m["role"] == "assistant":
            out.append(("head", "<|im_start|>assistant\n"))
            out.append(("assistant", m["content"] + "<|im_end|>"))
            out.append(("head", "\n"))
        else:
            out.append((m["role"], "<|im_start|>" + m["role"] + "\n" + m["content"] + "<|im_end|>\n"))
    if gen:
        out.append(("head", "<|im_start|>assistant\n"))
    return out
