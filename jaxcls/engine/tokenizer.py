"""A checkpoint's tokenizer with what its texts and pairs are put into."""

from functools import partial
from typing import TypeAlias

from tokenizers import Tokenizer

from jaxcls.config.embedder import TRANSFORMER
from jaxcls.config.engine import EngineConfig
from jaxcls.engine.checkpoint import Checkpoint, tokenizer_files
from jaxcls.errors import ConfigError, PromptError
from jaxcls.inputs.load_tokenizer import TokenizerFiles, read_json
from jaxcls.inputs.score_template import JinjaTemplate, read_score_template
from jaxcls.inputs.template import Template, parse_template, text_template
from jaxcls.inputs.tokenize import TextTokenizer

_REMEDY = (
    "load it with prompt_template, which holds {text} and {text_pair}, or chat_template; or give the finished prompt "
    "as one text"
)
_WORDS = f"the head of this language model is read after a prompt, so a pair needs one: {_REMEDY}"
_NOTHING_BETWEEN = (
    "this tokenizer puts nothing between the texts of a pair, so a pair needs a prompt, the one that the model was "
    f"trained with: {_REMEDY}. If it was trained on texts that follow each other with nothing between, say "
    "prompt_template='{text}{text_pair}'"
)


def open_tokenizer(checkpoint: Checkpoint, options: EngineConfig) -> TextTokenizer:
    """The checkpoint's tokenizer, or that of `options.tokenizer`.

    Raises:
        ConfigError: no tokenizer, or templates that contradict each other or do not fit it.
    """
    tokenizer = partial(
        TextTokenizer,
        max_len=checkpoint.max_len,
        vocab_size=checkpoint.config.vocab_size,
        num_token_types=checkpoint.config.type_vocab_size,
    )
    if options.skip_tokenizer_init:
        for name in ("prompt_template", "chat_template"):
            if getattr(options, name) is not None:
                raise ConfigError(f"{name} is for texts; without a tokenizer (skip_tokenizer_init) prompts are ids")
        return tokenizer(backend=None)
    files = checkpoint.tokenizer_files or tokenizer_files(checkpoint.path, options)
    lower = bool(read_json(files.path / TRANSFORMER).get("do_lower_case", False))
    single, pair = _templates(checkpoint, options, files)
    return tokenizer(
        backend=files.backend,
        side=files.side,
        lower_case=lower,
        token_types=files.token_types,
        single=single,
        pair=pair,
        unk_token=files.unk_token,
        score_token_id=checkpoint.architecture.score_token_id(checkpoint.config),
        path=files.path,
        conversation=pair.chat if isinstance(pair, JinjaTemplate) else None,
    )


_JOINED = "as the tokenizer joins them; refused if it puts nothing between"


def pair_prompt(checkpoint: Checkpoint, options: EngineConfig) -> str:
    """What pairs are put into, for people."""
    if options.prompt_template is not None or options.chat_template is not None:
        return "chat_template" if options.prompt_template is None else "prompt_template"
    if checkpoint.reranker is not None:
        return f"the prompt {checkpoint.reranker.template} (known by the model's name)"
    if checkpoint.concatenates:
        return "one text after the other (use_sep_token)"
    return "refused without a template" if checkpoint.head_rows is not None else _JOINED


Templates: TypeAlias = tuple[Template | PromptError | None, Template | PromptError | None]


def _templates(checkpoint: Checkpoint, options: EngineConfig, files: TokenizerFiles) -> Templates:
    """What single texts and pairs are put into: the caller's, else the published reranker's, else the tokenizer's."""
    if options.prompt_template is not None:
        if options.chat_template is not None:
            raise ConfigError("prompt_template and chat_template both say what pairs are put into; give one of them")
        template = parse_template(options.prompt_template)
        if "text_pair" in template.fields:
            return PromptError("the prompt_template takes a pair"), template
        return template, PromptError("the prompt_template takes a single text")
    published = None if checkpoint.reranker is None else checkpoint.reranker.template
    chosen = options.chat_template or published
    if chosen is not None:
        return None, read_score_template(chosen, files.backend, files.path)
    return None, _pair_without_template(checkpoint, files)


def _pair_without_template(checkpoint: Checkpoint, files: TokenizerFiles) -> Template | PromptError | None:
    if checkpoint.concatenates:
        return text_template("{text}{text_pair}")
    if checkpoint.head_rows is not None and checkpoint.concatenates is None:
        return PromptError(_WORDS)
    types = files.token_types and checkpoint.config.type_vocab_size > 1
    return None if _separates(files.backend, types=types) else PromptError(_NOTHING_BETWEEN)


def _separates(backend: Tokenizer, *, types: bool) -> bool:
    """Whether the texts of a pair can be told apart: by special tokens, or by token types if the model has such."""
    if backend.num_special_tokens_to_add(True) > backend.num_special_tokens_to_add(False):
        return True
    return types and len(set(backend.encode("a", "a").type_ids)) > 1
