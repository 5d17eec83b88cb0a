"""Models for tests of chat: adapters that differ, made by PEFT, and served under a name each."""

from pathlib import Path

import httpx2
import torch
from peft import LoraConfig, get_peft_model
from sqlmodel import col, select

from reft.conversations.schema import from_prompt
from reft.conversations.tokenization import encode
from reft.evaluation.generation import stop_ids
from reft.models.loading import add_adapter, load_model, load_tokenizer
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


def alone(base, folder, new=24):
    """What an adapter answers greedily, loaded by itself with nothing of the service."""
    tokenizer, model = load_tokenizer(base, "chatml"), load_model(base)
    if folder is not None:
        model = add_adapter(model, folder, "only")
    ids = torch.tensor([encode(tokenizer, from_prompt(ASK[0]["content"])).input_ids])
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            eos_token_id=stop_ids(model, tokenizer),
            pad_token_id=tokenizer.pad_token_id,
        )
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def post(server, **options):
    """A request as it goes over the wire, to be read or left."""
    body = {"model": "tiny", "messages": ASK, "max_tokens": 1900, **options}
    headers = {"authorization": f"Bearer {server.key()}"}
    return httpx2.Client(timeout=60).stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=headers)
