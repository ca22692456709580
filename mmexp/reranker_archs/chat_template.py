"""Chat templates that take the roles in which a reranker's query and document come."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from transformers import ProcessorMixin

ROLES = ("query", "document")
# How templates ask for the user's turn: message.role == "user", message['role'] == 'user'.
USERS_TURN = re.compile(r"""(\w+(?:\.role|\[['"]role['"]\]))\s*==\s*(['"])user\2""")


def accept_roles(processor: ProcessorMixin, checkpoint: str) -> None:
    """Make the processor's template write the messages of the roles `query` and `document` as it does a user's.

    Templates that write any role are left as they are. Raises `ConfigError` where a template drops or refuses these
    roles and does not ask for the user's turn in a form that is known here.
    """
    template = getattr(processor, "chat_template", None)
    if not template:
        raise ConfigError(
            f"model.checkpoint={checkpoint} has no chat template, which reranker_arch=any_to_any and "
            "feature_extraction put query and document into. Use an instruction-tuned checkpoint, or "
            "reranker_arch=sequence_classification."
        )
    if _writes_roles(processor):
        return
    roles = ", ".join(f'"{role}"' for role in ("user", *ROLES))
    processor.chat_template = USERS_TURN.sub(rf"\1 in [{roles}]", template)
    if not _writes_roles(processor):
        processor.chat_template = template
        raise ConfigError(
            f"the chat template of model.checkpoint={checkpoint} does not write messages of the roles query and "
            "document, and cannot be extended: it has no test for the user's turn that is known here. Save the "
            "checkpoint with a template that accepts these roles."
        )


def _writes_roles(processor: ProcessorMixin) -> bool:
    """Whether the text of both roles comes out of the template."""
    import jinja2

    texts = [f"the {role}'s own words" for role in ROLES]
    messages: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]} for role, text in zip(ROLES, texts, strict=True)
    ]
    try:
        written = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (jinja2.TemplateError, ValueError, TypeError):  # templates raise for roles that they do not know
        return False
    return all(text in written for text in texts)
