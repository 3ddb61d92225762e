"""Build hook: compiles the CPU kernels into the wheel, where that is possible."""

import importlib.util
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    """A wheel with compiled kernels is tagged for its platform; one without them runs anywhere, through XLA."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel's files are collected."""
        if self.target_name != "wheel":
            return
        spec = importlib.util.spec_from_file_location("build_kernels", Path(self.root) / "kernels_cpu" / "build.py")
        assert spec is not None
        assert spec.loader is not None
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            build.compile_library()
        except build.CannotCompile as reason:
            print(f"jaxcls: building without CPU kernels: {reason}", file=sys.stderr)
            return
        build_data["artifacts"].append("/kernels_cpu/_kernels.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
