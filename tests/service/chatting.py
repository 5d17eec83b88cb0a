"""Models for tests of chat: adapters that differ, made by PEFT, and served under a name each."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from sqlmodel import col, select

from reft.models.loading import load_model
from reft.service.clock import now
from reft.service.tables import Organization, ServedModel

ASK = [{"role": "user", "content": "Where is my card?"}]


def say(client, model="tiny", **options):
    return client.chat.completions.create(**{"model": model, "messages": ASK, "max_tokens": 24, "seed": 7, **options})


def text_of(client, model="tiny", **options):
    return say(client, model, **options).choices[0].message.content


def streamed(client, model="tiny", **options):
    return list(say(client, model, stream=True, **options))


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def make_adapter(folder: Path, base: str, seed: int) -> Path:
    """A random adapter, strong enough to change every answer."""
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(load_model(base), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    return folder


def serve_adapter(server, base: str, name: str, *, organization: str = "acme", seed: int = 1, **fields) -> str:
    """Make an adapter and a served model of it; gives the model's name."""
    server.key(organization)
    key = f"{organization}/models/{name}"
    make_adapter(Path(server.service.blobs.path(key)), base, seed)
    return serve_folder(server, name, key, organization=organization, **fields)


def serve_folder(server, name: str, key: str, *, organization: str = "acme", **fields) -> str:
    """A row for what lies under the key."""
    server.key(organization)
    full = f"ft:tiny:{organization}::{name}"
    with server.service.database.writing() as session:
        owner = session.exec(select(Organization).where(col(Organization.name) == organization)).one()
        values = {"base": "tiny", "job_id": "ftjob-x", "passed": True, **fields}
        session.add(ServedModel(id=full, organization_id=owner.id, created_at=now(), folder=key, **values))
    return full
