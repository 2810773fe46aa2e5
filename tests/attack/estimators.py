"""Hostile estimators in the format of skops: nodes that call what they name."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attack.damage import NESTING
from attack.outcome import Change, Expected
from attack.stored import EITHER, REFUSED


def estimators(rng: np.random.Generator, run_dir: Path, elsewhere: Path) -> Change:
    """Make the stored estimator of a back end or of a classifier hostile."""
    if (path := run_dir / "backend.npz").is_file():
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
        seed = rng.integers(2**32)  # the same change of all
        for key in [name for name in state if name.endswith("skops")]:
            name, expected, content = _estimator(np.random.default_rng(seed), state[key].tobytes(), elsewhere)
            state[key] = np.frombuffer(content, np.uint8)
        np.savez(path, **state)
        return Change(f"back end: {name}", expected)
    seed = rng.integers(2**32)
    for path in (run_dir / "checkpoints").glob("*.ckpt"):
        checkpoint = torch.load(path, weights_only=True)
        name, expected, content = _estimator(
            np.random.default_rng(seed), checkpoint["state_dict"]["stored"].numpy().tobytes(), elsewhere
        )
        checkpoint["state_dict"]["stored"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        torch.save(checkpoint, path)
    return Change(f"classifier: {name}", expected)


def _estimator(rng: np.random.Generator, content: bytes, elsewhere: Path) -> tuple[str, Expected, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    schema = json.loads(members["schema.json"])
    if rng.random() < 0.25:
        return _rewritten(rng, members, schema)
    code = f"open({str(elsewhere / 'canary')!r}, 'w')"
    nodes = list(_nodes(code, elsewhere))
    name, node = nodes[rng.integers(len(nodes))]
    where = str(rng.choice(["root", "attribute", "state"]))
    if where == "root" or not isinstance(schema.get("content", {}).get("content"), dict):
        schema = {**node, "protocol": schema["protocol"], "_skops_version": schema["_skops_version"]}
    else:
        attributes = schema["content"]["content"]
        key = str(rng.choice(list(attributes)))
        attributes[key] = node
        where = f"attribute {key}"
    return f"{name} as {where}", REFUSED, _zipped({**members, "schema.json": json.dumps(schema).encode()})


def _json_node(value: Any) -> dict[str, Any]:
    return {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(value),
        "is_json": True,
    }


def _node(name: str, loader: str, **others: Any) -> dict[str, Any]:
    module, _, last = name.rpartition(".")
    return {"__class__": last, "__module__": module, "__loader__": loader, **others}


def _tuple(*nodes: Any) -> dict[str, Any]:
    return _node("builtins.tuple", "TupleNode", content=list(nodes))


def _nodes(code: str, elsewhere: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, node) of what calls a function when it is read back."""
    touch, canary = f"touch {elsewhere / 'canary'}", str(elsewhere / "canary")
    empty = _node("builtins.dict", "DictNode", content={}, key_types=_node("builtins.list", "ListNode", content=[]))
    calls = {
        "numpy.testing._private.utils.runstring": (code, {}),
        "numpy.testing.runstring": (code, {}),
        "os.system": (touch,),
        "posix.system": (touch,),
        "builtins.exec": (code,),
        "builtins.eval": (code,),
        "numpy.savetxt": (canary, [1]),
        "numpy.load": (canary, None, True),
        "numpy.fromfile": (canary,),
        "numpy.lib._npyio_impl.save": (canary, [1]),
        "numpy.f2py.compile": (code,),
        "numpy.distutils.exec_command.exec_command": (touch,),
        "scipy.io.savemat": (canary, {}),
        "scipy._lib._testutils._run_concurrent_barrier": (),
        "sklearn.utils._testing.create_memmap_backed_data": ([1],),
        "sklearn.datasets.load_files": (str(elsewhere),),
        "sklearn.externals._arff.load": (canary,),
        "joblib.load": (canary,),
        "mimii_pl.core.files.write_text": (canary, "x"),
        "subprocess.Popen": (["touch", canary],),
    }
    for name, args in calls.items():
        arguments = _tuple(*map(_json_node, args))
        yield f"reduce {name}", _node(name, "ConstructorFromReduceNode", content=arguments)
        yield f"function {name}", _node(name, "FunctionNode")
        yield f"type {name}", _node(name, "TypeNode")
        parts = {"func": _node(name, "FunctionNode"), "args": arguments, "kwds": empty, "namespace": empty}
        yield f"partial {name}", _node("functools.partial", "PartialNode", content=parts)
        yield f"object {name}", _node(name, "ObjectNode", content=empty)
    for name in ("methodcaller", "attrgetter", "itemgetter"):
        yield f"operator {name}", _node(f"operator.{name}", "OperatorFuncNode", attrs=_tuple(_json_node("__class__")))
    owner = _node("numpy.random._generator.Generator", "ObjectNode", content=empty)
    method = {"func": "__reduce__", "obj": owner}
    yield "method", _node("numpy.random._generator.Generator", "MethodNode", content=method)


def _rewritten(rng: np.random.Generator, members: dict[str, bytes], schema: Any) -> tuple[str, Expected, bytes]:
    """Give a node of a genuine schema another class or loader, or damage the archive."""
    found: list[dict] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "__loader__" in node:
                found.append(node)
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(schema)
    node = found[rng.integers(len(found))]
    key = str(rng.choice(["__loader__", "__class__", "__module__", "__id__", "content", "schema", "deep"]))
    if key == "schema":
        text = rng.choice([b"", b"[]", b"{", b"null", members["schema.json"][:-9]])
        return "a schema that is none", REFUSED, _zipped({**members, "schema.json": bytes(text)})
    if key == "deep":
        text = b'{"a":' * NESTING + b"1" + b"}" * NESTING
        return "a deep schema", REFUSED, _zipped({**members, "schema.json": text})
    values = ("ObjectNode", "system", "os", "runstring", "numpy.testing", 5, None, "ReduceNode", "", [])
    value = values[rng.integers(len(values))]
    node[key] = value
    return f"{key} = {value!r} in a node", EITHER, _zipped({**members, "schema.json": json.dumps(schema).encode()})


def _zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()
