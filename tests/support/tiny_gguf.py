"""Writes a llama model of about 470 kB with random weights: nonsense, but real tokens from a real server, fast.

Its tokenizer has one token a printable ASCII character; every other byte has a token of its own, so any text can be
asked.  The output rows of bytes and special tokens are zero, so that sampling from the best 40 (llama.cpp's default)
yields printable characters only and an answer always runs to ``max_tokens``.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH = 64
LAYERS = 2
HEADS = 4
INNER = 176
CONTEXT = 4096
SPECIAL = ("<unk>", "<s>", "</s>")
PRINTABLE = [chr(code) for code in range(ord("!"), ord("~") + 1)]
SPACE = "\u2581"  # how a SentencePiece vocabulary writes a blank
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_tiny_gguf(path: Path, *, seed: int = 7) -> Path:
    """Write the model to *path* and return it; the same *seed* gives the same file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    vocabulary = _add_tokenizer(writer)
    for name, tensor in _tensors(vocabulary, np.random.default_rng(seed)).items():
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tokenizer(writer: gguf.GGUFWriter) -> int:
    kinds = gguf.TokenType
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, *PRINTABLE]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * 256, *[kinds.NORMAL] * (1 + len(PRINTABLE))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(value=False)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def _tensors(vocabulary: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return random.normal(0.0, columns**-0.5, (rows, columns))

    output = matrix(vocabulary, WIDTH)
    output[: vocabulary - len(PRINTABLE)] = 0.0
    tensors = {"token_embd.weight": matrix(vocabulary, WIDTH) * 8, "output.weight": output * 4}
    tensors["output_norm.weight"] = np.ones(WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            tensors[f"{block}.{norm}.weight"] = np.ones(WIDTH)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors[f"{block}.{part}.weight"] = matrix(WIDTH, WIDTH)
        for part in ("ffn_gate", "ffn_up"):
            tensors[f"{block}.{part}.weight"] = matrix(INNER, WIDTH)
        tensors[f"{block}.ffn_down.weight"] = matrix(WIDTH, INNER)
    return tensors
