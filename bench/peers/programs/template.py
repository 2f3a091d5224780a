"""The published Qwen3-VL-Reranker's prompt, and the same with the reusable side first.

Source: the prompt that Qwen3-VL-Reranker is published with (arXiv 2601.04720), and the paper's
vision-first order (arXiv 2606.10759v2), which writes a line of its own for each side.
"""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".'
)
INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
EMPTY = "NULL"


@dataclass(frozen=True)
class Template:
    """What stands around the two sides of a pair."""

    query_label: str
    document_label: str
    instruction_end: str
    """Between the instruction and the first side."""

    def opening(self, instruction: str | None) -> str:
        """Up to the first side."""
        asked = instruction or INSTRUCTION
        user = f"<|im_start|>user\n<Instruct>: {asked}{self.instruction_end}"
        return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n{user}"

    def label(self, *, is_query: bool) -> str:
        """What stands before a side's content."""
        return self.query_label if is_query else self.document_label


PUBLISHED = Template("<Query>:", "<Document>:", "")
REUSABLE_FIRST = Template("<Query>: ", "<Document>: ", "\n")
