"""Random plugins, each of them twice: in a manager that is compiled, and as a synchronous twin that pluggy calls.

As it is, a plugin is registered in a :class:`HookManager` whose hooks are compiled; its twin in a plain
``pluggy.PluginManager``, where ``firstresult`` means something for async hooks too.
"""

from __future__ import annotations

import functools
import itertools
import types

import attrs
import pluggy
from hypothesis import strategies as st

from asyncrouter.hooks.manager import ARGUMENTS, ASYNC_HOOKS, HOOKS, HookManager
from asyncrouter.hooks.markers import hookimpl, hookspec
from asyncrouter.hooks.pipeline import Pipeline, compile_pipeline
from asyncrouter.hooks.specs import HookSpecs
from asyncrouter.types.decisions import Estimate, Fallback, GiveUp, Retry, Selection, Verdict
from asyncrouter.types.deployments import Deployment
from asyncrouter.types.request import EMPTY, Request
from asyncrouter.types.response import Chunk, Response

HOT = tuple(field.name for field in attrs.fields(Pipeline) if f"asyncrouter_{field.name}" in HOOKS)
FIRST = ("estimate", "select", "retry", "fallback", "judge")
ONIONS = ("around_request", "around_attempt")
STREAM_ONIONS = ("around_request_stream", "around_attempt_stream")
NAMES = ("p", "q", "r", "s")
A, B, C = (Deployment(name=name, provider="fake", model="m") for name in "abc")
ANSWERS = {
    "estimate": [Estimate(complexity=share / 4) for share in range(4)],
    "select": [Selection(deployments=(one,)) for one in (A, B, C, A)],
    "retry": [Retry(0.0), Retry(1.0), GiveUp("one"), GiveUp("two")],
    "fallback": [Fallback(group="g"), Fallback(deployment=A), GiveUp("one"), GiveUp("two")],
    "judge": [Verdict(True), Verdict(False), Verdict(True, 0.5), Verdict(False, 0.5)],
}
GIVEN = {
    "request": Request(messages=[{"role": "user", "content": "hi"}], id="0"),
    "group": object(),
    "estimate": object(),
    "candidates": (A, B, C),
    "state": object(),
    "attempt": object(),
    "trace": object(),
    "random": object(),
    "remaining": (A, B),
    "response": object(),
    "event": object(),
    "deployment": A,
}


@attrs.frozen
class Impl:
    """One implementation: the arguments it takes in its own order, where it stands, and what it does."""

    arguments: tuple[str, ...]
    order: str
    is_async: bool
    behaviour: int | None


@attrs.frozen
class Plan:
    """One plugin: its implementations, and whether they are methods, functions of a module, or static."""

    name: str
    shape: str
    impls: dict[str, Impl]


def full(hook):
    return f"asyncrouter_{hook}"


def every_impl(hook):
    """List every implementation of *hook* that may be drawn, the plainest first: one draw is cheap, ten are not."""
    arguments = ARGUMENTS[full(hook)]
    always_async, maybe_async = hook in ONIONS, full(hook) in ASYNC_HOOKS
    return [
        Impl(arguments=taken, order=order, is_async=is_async, behaviour=behaviour)
        for count in range(len(arguments) + 1)
        for taken in itertools.permutations(arguments, count)
        for order in ("", "tryfirst", "trylast")
        for is_async in ([True] if always_async else [False, True] if maybe_async else [False])
        for behaviour in (None, 0, 1, 2, 3)
    ]


IMPLS = {hook: st.sampled_from(every_impl(hook)) for hook in HOT}
HOOK_SETS = st.integers(1, 2 ** len(HOT) - 1)
SHAPES = st.sampled_from(["method", "module", "static"])


@st.composite
def plans(draw, name):
    hooks = draw(HOOK_SETS)
    chosen = [hook for place, hook in enumerate(HOT) if hooks >> place & 1]
    return Plan(name, draw(SHAPES), {hook: draw(IMPLS[hook]) for hook in chosen})


COUNTS = st.integers(1, len(NAMES))
PLANS = {name: plans(name) for name in NAMES}


@st.composite
def histories(draw):
    """Draw plugins, and the order in which each is registered, unregistered, registered again …"""
    chosen = [draw(PLANS[name]) for name in NAMES[: draw(COUNTS)]]
    first = draw(st.permutations(chosen))
    return [*first, *draw(st.lists(st.sampled_from(chosen), max_size=4))]


class Pause:
    def __await__(self):
        yield


@functools.cache
def function_maker(kind, arguments):
    """Return a maker of functions with exactly these arguments, which hand them to a body as a mapping."""
    given = "{" + ", ".join(f"{name!r}: {name}" for name in arguments if name != "self") + "}"
    signature = f"impl({', '.join(arguments)}):"
    code = {
        "plain": f"def {signature} return body({given})",
        "async": f"async def {signature} await Pause(); return body({given})",
        "awaiting": f"async def {signature} return await body({given})",
        "stream": f"async def {signature}\n  async for item in body({given}): yield item",
    }[kind]
    space = {"Pause": Pause}
    exec(f"def make(body):\n {code}\n return impl", space)  # noqa: S102 - of our own making
    return space["make"]


def plugin_of(plan, kind_of, body_of):
    """Build the object to register."""
    functions = {}
    for hook, impl in plan.impls.items():
        leading = ("self",) if plan.shape == "method" else ()
        function = function_maker(kind_of(hook, impl), leading + impl.arguments)(body_of(hook, impl))
        options = {impl.order: True} if impl.order else {}
        marked = hookimpl(**options)(function)
        functions[full(hook)] = staticmethod(marked) if plan.shape == "static" else marked
    if plan.shape == "module":
        module = types.ModuleType(plan.name)
        vars(module).update(functions)
        return module
    return type("Plugin", (), functions)()


class Compiled:
    """Plugins whose calls are recorded, in a manager that is compiled."""

    def __init__(self):
        self.manager = HookManager()
        self.log = []
        self.failures = []

    def toggle(self, plan):
        if plan.name in dict(self.manager.list_name_plugin()):
            self.manager.unregister(name=plan.name)
        else:
            bodies = functools.partial(self.body, plan.name)
            self.manager.register(plugin_of(plan, self.kind, bodies), plan.name)

    def pipeline(self):
        return compile_pipeline(self.manager, self.failures.append)

    @staticmethod
    def kind(hook, impl):
        if hook in STREAM_ONIONS:
            return "stream"
        if hook in ONIONS:
            return "awaiting"
        return "async" if impl.is_async else "plain"

    def body(self, name, hook, impl):
        def do(arguments):
            self.log.append((name, dict(arguments)))
            return behave(hook, impl, name, arguments)

        async def around(arguments):
            self.log.append((name, seen(arguments)))
            call = forwarded(hook, impl, name, arguments)
            inner = "" if call is None else (await arguments["call"](*call)).model
            return Response(raw=EMPTY, deployment="a", model=inner + name)

        async def around_stream(arguments):
            self.log.append((name, seen(arguments)))
            yield Chunk({"path": name})
            if "chunks" in arguments and impl.behaviour is not None:
                async for chunk in arguments["chunks"]:
                    yield Chunk({"path": chunk.raw["path"] + name})

        return around_stream if hook in STREAM_ONIONS else around if hook in ONIONS else do


def behave(hook, impl, name, arguments):
    """Do what a plain implementation does, on either side."""
    if hook == "observe" and impl.behaviour == 0:
        raise ZeroDivisionError
    if impl.behaviour is None or hook == "observe":
        return impl.behaviour  # what an observer returns is nobody's business
    if hook == "transform":
        request = arguments.get("request", GIVEN["request"])
        return attrs.evolve(request, id=request.id + name)
    if hook == "filter":
        candidates = arguments.get("candidates", ())
        return tuple(one for place, one in enumerate(candidates) if place != impl.behaviour)
    return ANSWERS[hook][impl.behaviour]


def seen(arguments):
    """Return what an onion's layer was given, in a form that survives changed requests."""
    return {name: value.id if name == "request" else value for name, value in arguments.items()
            if name not in {"call", "chunks"}}  # fmt: skip


def forwarded(hook, impl, name, arguments):
    """Return the arguments with which a layer calls the next; ``None`` when it answers by itself."""
    wanted = ARGUMENTS[full(hook)][1:]
    if impl.behaviour is None or "call" not in arguments or any(one not in arguments for one in wanted):
        return None
    request = arguments["request"]
    if impl.behaviour == 1:
        request = attrs.evolve(request, id=request.id + name)
    return (request, *(arguments[one] for one in wanted[1:]))


def run(coroutine):
    """Run what awaits nothing but :class:`Pause`."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value


async def collected(chunks):
    return [chunk.raw["path"] async for chunk in chunks]


def twin_specs():
    """Build the same specifications, all synchronous."""
    space = {}
    for hook in HOT:
        options = getattr(HookSpecs, full(hook)).asyncrouter_spec
        code = f"def {full(hook)}({', '.join(ARGUMENTS[full(hook)])}): ..."
        exec(code, space)  # noqa: S102 - of our own making
        space[full(hook)] = hookspec(firstresult=options["firstresult"])(space[full(hook)])
    return type("TwinSpecs", (), {name: one for name, one in space.items() if name.startswith("asyncrouter_")})


TWIN_SPECS = twin_specs()


class Oracle:
    """The synchronous twins, called by pluggy itself."""

    def __init__(self):
        self.manager = pluggy.PluginManager("asyncrouter")
        self.manager.add_hookspecs(TWIN_SPECS)
        self.log = []
        self.impls = {}

    def toggle(self, plan):
        if self.manager.has_plugin(plan.name):
            self.manager.unregister(name=plan.name)
        else:
            self.impls[plan.name] = plan.impls
            self.manager.register(
                plugin_of(plan, lambda *_: "plain", functools.partial(self.body, plan.name)), plan.name
            )

    def body(self, name, hook, impl):
        def do(arguments):
            self.log.append((name, dict(arguments)))
            return behave(hook, impl, name, arguments) if hook in FIRST else name

        return do

    def call(self, hook):
        """Let pluggy call *hook*; return its result and the calls it made."""
        self.log.clear()
        given = {name: GIVEN.get(name) for name in ARGUMENTS[full(hook)]}
        return getattr(self.manager.hook, full(hook))(**given), list(self.log)

    def order(self, hook):
        """Return the plugins that implement *hook* in the order in which pluggy calls them, with their impls."""
        names, _log = self.call(hook)
        return [(name, self.impls[name][hook]) for name in names]


def picked(impl, values):
    return {name: values[name] for name in impl.arguments}


def folded(hook, order):
    """Fold over pluggy's order, independently of the compiler: the value, and the calls on the way."""
    argument = {"transform": "request", "filter": "candidates"}[hook]
    values, log = {name: GIVEN[name] for name in ARGUMENTS[full(hook)]}, []
    for name, impl in order:
        log.append((name, picked(impl, values)))
        result = behave(hook, impl, name, picked(impl, values))
        if result is not None:
            values = {**values, argument: result}
    return values[argument], log


def nested(hook, order, values, log):
    """Call the layers from the outermost in, recursively; return the model's name that comes out."""
    if not order:
        log.append(("", seen(values)))
        return "core"
    (name, impl), *inner = order
    arguments = picked(impl, {**values, "call": None})
    log.append((name, seen(arguments)))
    call = forwarded(hook, impl, name, arguments)
    if call is None:
        return name
    return nested(hook, inner, dict(zip(ARGUMENTS[full(hook)][1:], call, strict=True)), log) + name


def nested_stream(order):
    if not order:
        return ["one", "two"]
    (name, impl), *inner = order
    passes = "chunks" in impl.arguments and impl.behaviour is not None
    return [name, *(path + name for path in nested_stream(inner))] if passes else [name]
