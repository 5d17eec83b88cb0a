"""What a perfect filter would give: supervised finetuning without exactly the poisoned rows."""

from dataclasses import replace

from reft.finetuning.methods.sft import METHOD as SFT

METHOD = replace(SFT, words="sft without exactly the poisoned rows", oracle=True)
