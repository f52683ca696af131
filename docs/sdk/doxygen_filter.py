#!/usr/bin/env python3
"""Marks the plain comments of a header for Doxygen: one that stands alone belongs to what follows it, one behind a
declaration to what stands before it. What Doxygen would take for markup in them is escaped."""
import re
import sys

MARKUP = re.compile(r"(?<![\w\\])([@\\])(?=\w)|([<>#&%])")


def escaped(text):
    return MARKUP.sub(lambda m: "\\" + (m.group(1) or m.group(2)), text)


def marked(line, in_comment):
    """The line for Doxygen, and whether a block comment is still open behind it."""
    if in_comment:
        body, end, rest = line.partition("*/")
        return escaped(body) + end + rest, not end
    match = re.match(r"(\s*)(.*?)(\s*)(/\*+|//+)(?!/)(.*)$", line)
    if not match or '"' in match.group(2) or match.group(2).startswith("#"):
        return line, False
    indent, code, gap, opener, text = match.groups()
    if "----" in text:  # a heading between sections
        return f"{indent}{code}", False
    trailing = "<" if code else ""
    if opener.startswith("//"):
        return f"{indent}{code}{gap}///{trailing}{escaped(text)}", False
    body, end, rest = text.partition("*/")
    return f"{indent}{code}{gap}/**{trailing}{escaped(body)}{end}{rest}", not end


def main():
    inside, first = False, True
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file.read().splitlines():
            line, inside = marked(line, inside)
            if first:  # what the file is for
                line = re.sub(r"^(/\*\*|///)", r"\1 \\file\n\1" if line.startswith("///") else r"\1 \\file\n", line)
                first = False
            print(line)


if __name__ == "__main__":
    main()
