"""The peer of the cold-start figure: what the KServe and transformers documentation shows, combined plainly."""

from __future__ import annotations

import sys
from typing import Any

import torch
from kserve import Model, ModelServer
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.names import INFERENCE_SERVICE


class NaiveModel(Model):  # type: ignore[misc]  # KServe's SDK is not typed
    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.ready = True

    def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> dict[str, Any]:
        predictions = []
        for instance in payload["instances"]:
            choices = "\n".join(
                f"{letter}. {choice}" for letter, choice in zip("ABCDEFGHIJ", instance["choices"], strict=False)
            )
            messages = [{"role": "user", "content": f"{instance['question']}\n\n{choices}\n\nAnswer with the letter."}]
            inputs = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
            out = self.model.generate(**inputs, max_new_tokens=1, do_sample=False)
            predictions.append(self.tokenizer.decode(out[0, -1:]))
        return {"predictions": predictions}


if __name__ == "__main__":
    folder, port, grpc_port = sys.argv[1:4]
    server = ModelServer(http_port=int(port), grpc_port=int(grpc_port))
    server.start([NaiveModel(INFERENCE_SERVICE, folder)])
