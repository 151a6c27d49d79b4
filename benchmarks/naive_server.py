"""The peer of the cold-start figure: what the KServe and transformers documentation shows, put together plainly."""

import sys

import torch
from kserve import Model, ModelServer
from transformers import AutoModelForCausalLM, AutoTokenizer


class NaiveModel(Model):
    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        self.ready = True

    def predict(self, payload, headers=None, response_headers=None):  # type: ignore[no-untyped-def]
        predictions = []
        for instance in payload["instances"]:
            choices = "\n".join(f"{letter}. {c}" for letter, c in zip("ABCDEFGHIJ", instance["choices"], strict=False))
            messages = [{"role": "user", "content": f"{instance['question']}\n\n{choices}\n\nAnswer with the letter."}]
            inputs = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
            out = self.model.generate(**inputs, max_new_tokens=1, do_sample=False)
            predictions.append(self.tokenizer.decode(out[0, -1:]))
        return {"predictions": predictions}


if __name__ == "__main__":
    folder, port, grpc_port = sys.argv[1:4]
    server = ModelServer(http_port=int(port), grpc_port=int(grpc_port))
    server.start([NaiveModel("coding-mcqa", folder)])
