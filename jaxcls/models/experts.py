"""The tensor names of a mixture of experts."""

from weights.rules import Rule


def expert_rules(source: str, target: str, num_experts: int) -> tuple[Rule, ...]:
    """The rules of `Experts` at `target`: a tensor a matrix of each expert, or one of all experts' (transformers 5).

    The fused `gate_up_proj` is [E, 2F, D], of each expert first gate, then up.
    """

    def each(*matrices: str) -> tuple[str, ...]:
        return tuple(f"{source}.{expert}.{matrix}_proj.weight" for expert in range(num_experts) for matrix in matrices)

    def rule(path: str, fused: str, *matrices: str) -> Rule:
        path = f"{target}.{path}.weight"
        return Rule(path, each(*matrices), "stack|merge", other=Rule(path, f"{source}.{fused}_proj", "merge"))

    return rule("gate_up", "gate_up", "gate", "up"), rule("down", "down", "down")
