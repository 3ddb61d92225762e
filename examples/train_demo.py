"""Train the demo model, "which language is this snippet?", with optax on jaxcls's own modules.

    pip install "jaxcls[train]" unearth
    python examples/demo_corpus.py CORPUS
    python examples/train_demo.py --corpus CORPUS --output jaxcls/demo
    python examples/train_demo.py --corpus CORPUS --output jaxcls/demo --evaluate-only

A BERT of two megabytes: the modules that serve Hugging Face checkpoints are ordinary flax.nnx modules, so gradients
flow through them, packed batches included. The result is a Hugging Face checkpoint (config.json, model.safetensors in
bfloat16, tokenizer.json) and its model card, whose numbers come from `LLM(output).classify` on the test split.
"""

import argparse
import json
import random
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from demo_card import Row, evaluate, read_split, write_card, write_sample
from flax import nnx
from safetensors.flax import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from jaxcls.config.hf import HfView
from jaxcls.layers.packed import PackedBatch
from jaxcls.models.architecture import Classifier
from jaxcls.models.bert import ARCHITECTURE

SPECIAL_TOKENS = PAD, UNK, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
VOCAB_SIZE = 6144
MAX_LEN = 256
ROWS, MAX_SEQS = 16, 128
"""A training batch is ROWS rows of MAX_LEN tokens with at most MAX_SEQS snippets."""


def hf_config(labels: Sequence[str]) -> dict[str, Any]:
    """The config.json of the model."""
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
        "hidden_act": "gelu",
        "max_position_embeddings": MAX_LEN,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-12,
        "pad_token_id": SPECIAL_TOKENS.index(PAD),
        "problem_type": "single_label_classification",
        "dtype": "bfloat16",
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """A byte-level BPE that keeps every blank and newline, and puts [CLS] and [SEP] around a text.

    A piece that merges may join is a word with the punctuation and blanks after it, so that "def ", "self." and
    " = new " become tokens: they tell languages apart better than words do.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Replace(Regex("\r\n?"), "\n")
    pieces = pre_tokenizers.Split(Regex(r"[^\w\n]*\w+[^\w\n]*\n?|\n"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pieces, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B {SEP}", special_tokens=ids
    )
    return tokenizer


def scale_weights(model: nnx.Module) -> None:
    """Gives every projection a standard deviation of fan_in ** -0.5.

    The modules start at 0.02, which suits a width of 768; at 128, residual branches would hardly be heard at first.
    """
    for path, weight in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if path[0] != "embed" and weight[...].ndim == 2:
            weight[...] *= weight[...].shape[1] ** -0.5 / 0.02


def reindent(lines: Sequence[str], unit: str) -> list[str]:
    """The same lines, each level of indentation written as `unit`."""
    expanded = [line.expandtabs(4) for line in lines]
    widths = [len(line) - len(line.lstrip(" ")) for line in expanded]
    level = min((width for width in widths if width), default=1)
    return [
        unit * (width // level) + " " * (width % level) + line.lstrip()
        for width, line in zip(widths, lines, strict=True)
    ]


def augment(text: str, rng: random.Random) -> str:
    """Now and then only some of the lines, another indentation, or none of what all lines have in common."""
    lines = text.split("\n")
    if len(lines) > 3 and rng.random() < 0.4:
        fewest = 1 if rng.random() < 0.2 else 3
        start = rng.randrange(len(lines) - 2)
        lines = lines[start : start + rng.randint(fewest, len(lines) - start)]
    if rng.random() < 0.25:
        lines = reindent(lines, rng.choice(("\t", "  ", "    ")))
    text = "\n".join(lines)
    return textwrap.dedent(text) if rng.random() < 0.3 else text


def encode(texts: Sequence[str], tokenizer: Tokenizer) -> list[np.ndarray]:
    """Token ids of each text, cut to MAX_LEN before the final [SEP]."""
    separator = tokenizer.token_to_id(SEP)
    encoded = [np.array(one.ids, np.int32) for one in tokenizer.encode_batch(list(texts))]
    return [
        ids if len(ids) <= MAX_LEN else np.append(ids[: MAX_LEN - 1], separator).astype(np.int32) for ids in encoded
    ]


def hide_tokens(ids: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Replaces a share of the tokens by [UNK]: no answer may hang on one of them."""
    hidden = rng.random(len(ids)) < share
    hidden[[0, -1]] = False
    return np.where(hidden, SPECIAL_TOKENS.index(UNK), ids)


def pack(snippets: Sequence[tuple[np.ndarray, int]]) -> Iterator[tuple[PackedBatch, jax.Array]]:
    """Packs (token ids, label) pairs into batches of one shape; labels of unused slots are -1.

    A snippet goes to the first row with room; the first that fits nowhere begins the next batch.
    """
    rows: list[list[tuple[np.ndarray, int]]] = [[] for _ in range(ROWS)]
    room = [MAX_LEN] * ROWS
    count = 0
    for snippet in snippets:
        row = next((i for i in range(ROWS) if room[i] >= len(snippet[0])), None)
        if row is None or count == MAX_SEQS:
            yield _batch(rows)
            rows, room, count, row = [[] for _ in range(ROWS)], [MAX_LEN] * ROWS, 0, 0
        rows[row].append(snippet)
        room[row] -= len(snippet[0])
        count += 1
    if count:
        yield _batch(rows)


def _batch(rows: Sequence[Sequence[tuple[np.ndarray, int]]]) -> tuple[PackedBatch, jax.Array]:
    tokens, positions = np.zeros((2, ROWS * MAX_LEN), np.int32)
    segments = np.full(ROWS * MAX_LEN, -1, np.int32)
    starts, lengths = np.zeros((2, MAX_SEQS), np.int32)
    labels = np.full(MAX_SEQS, -1, np.int32)
    slot = 0
    for i, row in enumerate(rows):
        start = i * MAX_LEN
        for ids, label in row:
            part = slice(start, start + len(ids))
            tokens[part], positions[part], segments[part] = ids, np.arange(len(ids)), slot
            starts[slot], lengths[slot], labels[slot] = start, len(ids), label
            start, slot = part.stop, slot + 1
    arrays = jax.device_put(
        {
            "input_ids": tokens,
            "token_type_ids": np.zeros_like(tokens),
            "positions": positions,
            "segment_ids": segments,
            "starts": starts,
            "lengths": lengths,
            "use_activation": np.ones(MAX_SEQS, bool),
        }
    )
    return PackedBatch(**arrays, row_groups=((ROWS, MAX_LEN),)), jnp.asarray(labels)


def batches(
    rows: Sequence[Row], tokenizer: Tokenizer, label_ids: dict[str, int], epoch: int, args: argparse.Namespace
) -> Iterator[tuple[PackedBatch, jax.Array]]:
    """One epoch: shuffled, augmented anew, packed."""
    rng, np_rng = random.Random(f"{args.seed}:{epoch}"), np.random.default_rng((args.seed, epoch))
    order = rng.sample(rows, len(rows))
    encoded = encode([augment(row.text, rng) for row in order], tokenizer)
    yield from pack(
        [(hide_tokens(ids, np_rng, args.hide), label_ids[row.label]) for row, ids in zip(order, encoded, strict=True)]
    )


def mean_loss(model: Classifier, batch: PackedBatch, labels: jax.Array, smoothing: float) -> jax.Array:
    """Cross-entropy with smoothed labels, averaged over the slots in use."""
    logits = model.head(model(batch)[batch.starts])
    targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[-1]), smoothing)
    used = labels >= 0
    return jnp.sum(optax.softmax_cross_entropy(logits, targets) * used) / used.sum()


@nnx.jit
def count_right(model: Any, batch: PackedBatch, labels: jax.Array) -> jax.Array:
    """How many snippets of a batch have the right label on top."""
    return jnp.sum(model.head(model(batch)[batch.starts]).argmax(-1) == labels)


def validate(model: nnx.Module, rows: Sequence[Row], tokenizer: Tokenizer, label_ids: dict[str, int]) -> float:
    """Accuracy in float32, while training."""
    encoded = encode([row.text for row in rows], tokenizer)
    pairs = [(ids, label_ids[row.label]) for ids, row in zip(encoded, rows, strict=True)]
    return sum(int(count_right(model, *batch)) for batch in pack(pairs)) / len(rows)


def _is_matrix(parameters: Any) -> Any:
    return jax.tree.map(lambda array: array.ndim > 1, parameters)


def train(tokenizer: Tokenizer, config: dict[str, Any], args: argparse.Namespace) -> nnx.Module:
    """Trains the classifier that `config` describes; float32 throughout."""
    rows, held_out = (read_split(args.corpus, split) for split in ("train", "validation"))
    model = ARCHITECTURE.build(ARCHITECTURE.config(HfView(config)), nnx.Rngs(args.seed), jnp.dtype(jnp.float32), False)
    scale_weights(model)
    label_ids = config["label2id"]
    steps = args.epochs * sum(1 for _ in batches(rows, tokenizer, label_ids, 0, args))
    schedule = optax.warmup_cosine_decay_schedule(0.0, args.learning_rate, steps // 20, steps)
    adamw = optax.adamw(schedule, b2=0.98, weight_decay=args.weight_decay, mask=_is_matrix)
    optimizer = nnx.Optimizer(model, optax.chain(optax.clip_by_global_norm(1.0), adamw), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: nnx.Optimizer, batch: PackedBatch, labels: jax.Array) -> jax.Array:
        loss, gradients = nnx.value_and_grad(mean_loss)(model, batch, labels, args.smoothing)
        optimizer.update(model, gradients)
        return loss

    began, done = time.monotonic(), 0
    for epoch in range(args.epochs):
        for batch, labels in batches(rows, tokenizer, label_ids, epoch, args):
            loss = step(model, optimizer, batch, labels)
            done += 1
            if done % 100 == 0:
                print(f"step {done}/{steps}  loss {float(loss):.3f}  {time.monotonic() - began:.0f} s", flush=True)
        print(f"epoch {epoch + 1}: {validate(model, held_out, tokenizer, label_ids):.2%} of validation", flush=True)
    return model


def save(model: nnx.Module, tokenizer: Tokenizer, config: dict[str, Any], folder: Path) -> None:
    """Writes a Hugging Face checkpoint, the weights rounded to bfloat16."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = {".".join(map(str, path)): value[...] for path, value in nnx.to_flat_state(nnx.state(model, nnx.Param))}
    tensors: dict[str, jax.Array] = {}
    for rule in ARCHITECTURE.weights(ARCHITECTURE.config(HfView(config))).rules:
        layers = range(config["num_hidden_layers"]) if "{layer}" in rule.target else (0,)
        for layer in layers:
            target, source = (str(name).replace("{layer}", str(layer)) for name in (rule.target, rule.source))
            if target in ours:  # a family's rules name more than one model has
                tensors[source] = ours.pop(target).astype(jnp.bfloat16)
    if ours:
        raise ValueError(f"no checkpoint name for {sorted(ours)}")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MAX_LEN,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")},
    }
    for name, values in (("config.json", config), ("tokenizer_config.json", tokenizer_config)):
        (folder / name).write_text(json.dumps(values, indent=2) + "\n")


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Train and evaluate the demo model.")
    parser.add_argument("--corpus", type=Path, required=True, help="the folder that demo_corpus.py filled")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint's folder")
    parser.add_argument("--evaluate-only", action="store_true", help="evaluate the checkpoint that is there")
    parser.add_argument("--sample", type=Path, help="also write a small held-out sample to this file")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--smoothing", type=float, default=0.05)
    parser.add_argument("--hide", type=float, default=0.08, help="share of tokens replaced by [UNK] in training")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.evaluate_only:
        rows = read_split(args.corpus, "train")
        tokenizer = train_tokenizer([row.text for row in rows])
        config = hf_config(sorted({row.label for row in rows}, key=str.lower))
        save(train(tokenizer, config, args), tokenizer, config, args.output)
    results = {split: evaluate(args.output, read_split(args.corpus, split)) for split in ("validation", "test")}
    for split, result in results.items():
        print(f"{split}: {result.accuracy:.2%} of {result.total} snippets")
    write_card(args.corpus, args.output, results["validation"], results["test"])
    if args.sample is not None:
        write_sample(read_split(args.corpus, "test"), args.sample)


if __name__ == "__main__":
    main()
