"""``python -m benchmarks [NAME...]``: runs the benchmarks one after another and prints one table.

Exit code 0: all figures meet their targets; 1: a figure misses its target, or a benchmark failed; 2: wrong usage.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from types import ModuleType

from benchmarks.support import Failed, Result, Skipped, ending_on_signals, machine, table


def benchmarks() -> dict[str, ModuleType]:
    """The modules beside this one that have ``run()``, by name."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "run")}


def main(wanted: list[str]) -> int:
    """Runs the named benchmarks, or all."""
    found = benchmarks()
    unknown = [name for name in wanted if name not in found]
    if unknown:
        print(f"no benchmark {unknown[0]}; there are {', '.join(found)}", file=sys.stderr)
        return 2
    print(machine())
    results: list[Result] = []
    failed = False
    with ending_on_signals():
        for name in wanted or found:
            about = (found[name].__doc__ or "").partition("\n")[0]
            print(f"\n{name}: {about}", flush=True)
            began = time.monotonic()
            try:
                results += found[name].run()
            except Skipped as reason:
                print(f"  skipped: {reason}")
                results.append(Result(name, "skipped", note=f"{name} skipped: {reason}"))
            except Failed as reason:
                failed = True
                print(f"  failed: {reason}")
                results.append(Result(name, "failed", met=False, note=f"{name} failed: {reason}"))
            print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"\n{table(results)}\n\n{machine()}")
    return 1 if failed or any(result.met is False for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        print("\nstopped; everything that was started has been ended", file=sys.stderr)
        sys.exit(130)
