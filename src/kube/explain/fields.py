#!/usr/bin/env python3
"""Prints what `podctl explain` knows of the API's fields: the words of the k8s-openapi crate's
source, of the kinds there are and of all that they are made of.

    src/kube/explain/fields.py > src/kube/explain/fields.txt
"""
import glob
import json
import re
import subprocess

KINDS = ["ConfigMap", "Event", "Namespace", "Node", "Pod", "Secret"]
PLAIN = {"String": "string", "bool": "boolean", "i32": "integer", "i64": "integer", "f64": "number",
         "Time": "string", "MicroTime": "string", "ByteString": "string", "Quantity": "Quantity",
         "IntOrString": "IntOrString", "Value": "Object"}


def crate():
    metadata = subprocess.run(["cargo", "metadata", "--format-version", "1"], check=True,
                              stdout=subprocess.PIPE).stdout
    for package in json.loads(metadata)["packages"]:
        if package["name"] == "k8s-openapi":
            return package["manifest_path"].removesuffix("Cargo.toml")


def structs(root):
    """Name -> (words, [(field, type, required, words)])."""
    found = {}
    paths = glob.glob(root + "src/v1_36/api/core/v1/*.rs")
    paths += glob.glob(root + "src/v1_36/apimachinery/pkg/apis/meta/v1/*.rs")
    for path in paths:
        text = open(path).read()
        head = re.search(r"((?:^///.*\n)*)(?:^#.*\n)*^pub struct (\w+) \{\n([\s\S]*?)^\}", text, re.M)
        if not head:
            continue
        names = {b: a for a, b in re.findall(r'"(\w+)" => Field::Key_(\w+)', text)}
        fields = []
        for words, name, kind in re.findall(r"((?:^    ///.*\n)*)^    pub (\w+): (.*),$", head[3], re.M):
            optional = re.fullmatch(r"(?:std::option::)?Option<(.*)>", kind)
            spelled = type_of(optional[1] if optional else kind)
            fields.append((names.get(name, name), spelled, not optional and name != "metadata", plain(words)))
        found.setdefault(head[2], (plain(head[1]), sorted(fields)))
    return found


def plain(words):
    return " ".join(re.sub(r"^\s*/// ?", "", words, flags=re.M).split())


def type_of(kind):
    if kind.startswith(("Vec<", "std::vec::Vec<")):
        return "[]" + type_of(kind[kind.index("<") + 1:-1])
    if "BTreeMap<" in kind:
        return "map[string]" + type_of(kind.split(", ", 1)[1][:-1])
    name = kind.rsplit("::", 1)[-1]
    return PLAIN.get(name, name)


def main():
    all_structs = structs(crate())
    open_, seen = list(KINDS), []
    while open_:
        name = open_.pop(0)
        if name in seen or name not in all_structs:
            continue
        seen.append(name)
        for _, kind, _, _ in all_structs[name][1]:
            open_.append(kind.replace("[]", "").replace("map[string]", ""))
    for name in sorted(seen):
        words, fields = all_structs[name]
        print(f"{name}\t{words}")
        for field, kind, required, about in fields:
            print(f"  {field}\t{kind}{' -required-' if required else ''}\t{about}")


main()
