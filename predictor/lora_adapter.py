"""Merges a peft LoRA adapter into its base's weights, completely or not at all.

W' = W + B A * alpha / r (Hu et al. 2021, arXiv 2106.09685); DoRA scales each row of W' to its magnitude (Liu et al.
2024, arXiv 2402.09353). Fully trained modules (`modules_to_save`), token rows and biases replace the base's. What
cannot be merged is refused by the name of its tensor or setting: an adapter that is served in part answers like its
base, and nobody would notice. Written by hand: peft merges into transformers' classes, whose import takes seconds.
tests/predictor/test_lora_adapter.py compares with peft itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predictor.errors import VersionError
from predictor.version_files import has_file, integer_field, positive_field, read_json, short_repr

if TYPE_CHECKING:
    import torch

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"

_PREFIX = "base_model.model."
# By the end of a tensor's name: which of the module's own tensors it changes, and how. Longer suffixes first.
_SUFFIXES = (
    (".lora_A.weight", "weight", "A"),
    (".lora_B.weight", "weight", "B"),
    (".lora_B.bias", "bias", "B bias"),
    (".lora_embedding_A", "weight", "embedding A"),
    (".lora_embedding_B", "weight", "embedding B"),
    (".lora_magnitude_vector", "weight", "magnitude"),
    (".lora_magnitude_vector.weight", "weight", "magnitude"),
    (".token_adapter.trainable_tokens_delta", "weight", "rows"),
    (".token_adapter.base_layer.weight", "weight", "base"),
    (".base_layer.weight", "weight", "base"),
    (".base_layer.bias", "bias", "base"),
    (".weight", "weight", "whole"),
    (".bias", "bias", "whole"),
)
_COMPLETE_KINDS: tuple[set[str], ...] = (
    {"A", "B"},
    {"A", "B", "magnitude"},
    {"embedding A", "embedding B"},
    {"embedding A", "embedding B", "magnitude"},
    {"rows"},
    {"whole"},
    {"B bias"},
    set(),
)
# Settings that describe the training, or what the tensors' names say too.
_TRAINING_SETTINGS = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying",
        "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "layers_pattern",
        "layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core",
        "peft_version", "qalora_group_size", "revision", "runtime_config", "target_modules",
        "target_parameters", "task_type",
    }
)  # fmt: skip
_MERGED_SETTINGS = frozenset(
    {
        "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "use_dora",
        "lora_bias", "modules_to_save", "trainable_token_indices", "init_lora_weights",
    }
)  # fmt: skip
# Other initialisations (pissa, olora, corda, loftq, …) change the base's own weights, which the adapter lacks.
_PLAIN_INITIALISATIONS = (None, True, False, "gaussian", "eva", "orthogonal")
# Names, dots, \. and \d+: enough for a module's path, and no such pattern can backtrack for long.
_PLAIN_PATTERN = re.compile(r"\^?(?:[\w.]|\\[.d]\+?|[(|)])+\$?", re.ASCII)


class LoraAdapter:
    """The changes that an adapter makes, by the name of the base's tensor.

    `names` are the base's tensors. Raises VersionError for any tensor or setting that would be left out.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._file, self._path = folder / ADAPTER_FILE, folder / ADAPTER_CONFIG
        self._config = read_json(self._path)
        self._refuse_settings()
        self._changes: dict[str, dict[str, torch.Tensor]] = {}
        self._keys: dict[str, str] = {}
        self._read()
        known = set(names)
        self._require_targets(known)
        self._share_base(known)
        self._require_all_trained(known)

    def __contains__(self, name: str) -> bool:
        return name in self._changes

    @property
    def splits_tied_head(self) -> bool:
        """Whether embedding and output matrix, one tensor in the base, are two with this adapter."""
        own = set(self._changes.get(HEAD, ())) - {"base"}
        embedding = set(self._changes.get(EMBEDDING, ())) - {"base"}
        # peft adds trained rows to both matrices if they are tied.
        return bool(own) or bool(embedding - {"rows"})

    def merged(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """The base's tensor `name` with the adapter merged: float32, or `weight` itself if nothing changes it."""
        change = self._changes.get(name)
        if change is None:
            return weight
        whole = change.get("whole", change.get("base"))
        merged = weight.float() if whole is None else whole.float()
        if "B bias" in change:
            return merged + self._fitting(name, "B bias", change["B bias"].float(), merged) * self._scale(name)
        if "rows" in change:
            return self._with_rows(name, merged, change["rows"].float())
        if "A" in change or "embedding A" in change:
            return self._with_lora(name, merged, change)
        return merged

    def _with_lora(self, name: str, weight: torch.Tensor, change: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        embedding = "embedding A" in change
        a, b = (change["embedding A"], change["embedding B"]) if embedding else (change["A"], change["B"])
        rank = self._rank(name)
        if a.ndim != 2 or b.ndim != 2 or a.shape[0] != rank or b.shape[1] != rank:
            shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
            raise self._error(name, f"A and B have the shapes {shapes}, its rank is {rank}")
        delta = b.float() @ a.float()
        merged = weight + self._fitting(name, "A", delta.T if embedding else delta, weight) * self._scale(name)
        if "magnitude" in change:
            norm = torch.linalg.norm(merged, dim=0 if embedding else 1)
            share = self._fitting(name, "magnitude", change["magnitude"].float().flatten(), norm) / norm
            merged = merged * (share if embedding else share[:, None])
        return merged

    def _with_rows(self, name: str, weight: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        import torch

        indices = self._token_indices(name)
        if tuple(rows.shape) != (len(indices), weight.shape[1]):
            raise self._error(name, f"{tuple(rows.shape)} for {len(indices)} trained tokens of {weight.shape[1]}")
        if indices and max(indices) >= weight.shape[0]:
            raise self._error(name, f"trained token {max(indices)} of {weight.shape[0]}")
        return weight.index_copy(0, torch.tensor(indices, dtype=torch.int64), rows)

    def _fitting(self, name: str, kind: str, tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        if tensor.shape != like.shape:
            raise self._error(name, f"its {kind} makes {tuple(tensor.shape)} of {tuple(like.shape)}")
        return tensor

    def _rank(self, name: str) -> int:
        patterns = self._patterns("rank_pattern")
        key = self._pattern_of(patterns, name)
        return integer_field(patterns, key, self._path) if key else integer_field(self._config, "r", self._path)

    def _scale(self, name: str) -> float:
        patterns = self._patterns("alpha_pattern")
        key = self._pattern_of(patterns, name)
        alpha = (
            positive_field(patterns, key, self._path) if key else positive_field(self._config, "lora_alpha", self._path)
        )
        rank = self._rank(name)
        return alpha / (rank**0.5 if self._config.get("use_rslora") else rank)

    def _patterns(self, setting: str) -> dict[str, Any]:
        patterns = self._config.get(setting) or {}
        if not isinstance(patterns, dict):
            raise VersionError(f"{self._path}: {setting} must be an object, found {short_repr(patterns)}")
        for key in patterns:
            if not _PLAIN_PATTERN.fullmatch(key) or len(key) > 200:
                raise VersionError(
                    f"{self._path}: {setting} {short_repr(key)} is more than a module's name: not supported"
                )
        return patterns

    def _pattern_of(self, patterns: Mapping[str, Any], name: str) -> str | None:
        """The first pattern that matches the tensor's module, as peft looks it up."""
        module = name.rpartition(".")[0]
        for key in patterns:
            try:
                if re.match(rf"(.*\.)?({key})$", module):
                    return key
            except re.error:
                raise VersionError(f"{self._path}: {short_repr(key)} is not a pattern of module names") from None
        return None

    def _token_indices(self, name: str) -> list[int]:
        indices, module = self._config.get("trainable_token_indices"), name.rpartition(".")[0]
        if isinstance(indices, dict):
            keys = [key for key in indices if module == key or module.endswith(f".{key}")]
            indices = indices[keys[0]] if keys else None
        valid = isinstance(indices, list) and all(isinstance(i, int) and i >= 0 and i is not True for i in indices)
        if not valid or len(set(indices or ())) != len(indices or ()):
            raise VersionError(
                f"{self._path}: trainable_token_indices of {module} must be a list of token ids, once each"
            )
        return list(indices or ())

    def _refuse_settings(self) -> None:
        config = self._config
        if config.get("peft_type", "LORA") != "LORA":
            raise VersionError(f"{self._path}: peft_type is {short_repr(config['peft_type'])}, only LORA is merged")
        initialisation = config.get("init_lora_weights")
        if initialisation not in _PLAIN_INITIALISATIONS:
            raise VersionError(
                f"{self._path}: init_lora_weights {short_repr(initialisation)} changes the base's weights as well; "
                "convert it to a plain LoRA (peft's path_initial_model_for_weight_conversion)"
            )
        for name, value in config.items():
            if value and name not in _TRAINING_SETTINGS and name not in _MERGED_SETTINGS:
                raise VersionError(f"{self._path}: {short_repr(name)} is {short_repr(value)}, which is not supported")

    def _read(self) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if not has_file(self._file):
            pickled = ", only safetensors are loaded" if self._file.with_suffix(".bin").is_file() else ""
            raise VersionError(f"{self._file.parent}: {ADAPTER_CONFIG} without {ADAPTER_FILE}{pickled}")
        try:
            tensors = load_file(self._file)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise VersionError(f"{self._file}: {error}") from None
        for key, tensor in tensors.items():
            match = next((entry for entry in _SUFFIXES if key.endswith(entry[0])), None)
            if match is None or not key.startswith(_PREFIX):
                raise VersionError(
                    f"{self._file}: {short_repr(key, 120)} would be left out: it is not a tensor of a LoRA adapter"
                )
            if not tensor.dtype.is_floating_point or not tensor.isfinite().all():
                raise VersionError(f"{self._file}: {short_repr(key, 120)} contains values that are not finite")
            suffix, own, kind = match
            target = f"{key.removeprefix(_PREFIX).removesuffix(suffix)}.{own}"
            self._changes.setdefault(target, {})[kind] = tensor
            self._keys.setdefault(target, key)

    def _require_targets(self, known: set[str]) -> None:
        for target, change in self._changes.items():
            if target not in known and not (target == HEAD and EMBEDDING in known):
                raise self._error(target, "would be left out: the base has no such tensor")
            kinds = set(change) - {"base"}
            if kinds not in _COMPLETE_KINDS:
                raise self._error(target, f"would be left out: only {' and '.join(sorted(kinds))} of it is present")
            if kinds & {"A", "embedding A"} and bool(self._config.get("use_dora")) != ("magnitude" in kinds):
                raise self._error(
                    target, f"use_dora is {short_repr(self._config.get('use_dora'))}, but its magnitude says no"
                )

    def _share_base(self, known: set[str]) -> None:
        """peft saves the base's embedding next to a change of it; for tied matrices it is the base of both."""
        if HEAD in known:
            return
        bases = [self._changes[name]["base"] for name in (EMBEDDING, HEAD) if "base" in self._changes.get(name, ())]
        # Saved as `weight` of a module that was not fully trained: its vocabulary was resized.
        resized = self._changes.get(EMBEDDING, {}).get("whole")
        if resized is not None and not self._saved_whole(EMBEDDING):
            self._changes[EMBEDDING] = {"base": self._changes[EMBEDDING].pop("whole")}
            bases.append(resized)
        if any(base.shape != bases[0].shape or not base.equal(bases[0]) for base in bases[1:]):
            raise self._error(HEAD, "the base's tied embedding is present twice and differs")
        for name in (EMBEDDING, HEAD):
            if bases and (name == EMBEDDING or name in self._changes):
                self._changes.setdefault(name, {})["base"] = bases[0]
        rows, own = set(self._changes.get(EMBEDDING, ())), set(self._changes.get(HEAD, ())) - {"base"}
        if "rows" in rows and own and "rows" not in own:
            raise self._error(HEAD, "not merged beside trained token rows of a tied embedding")

    def _saved_whole(self, target: str) -> bool:
        return any(f".{name}." in f".{target}" for name in self._names("modules_to_save"))

    def _require_all_trained(self, known: set[str]) -> None:
        """VersionError if something that the settings say was trained is missing."""
        for name in self._names("modules_to_save"):
            if not any("whole" in change and f".{name}." in f".{target}" for target, change in self._changes.items()):
                raise VersionError(f"{self._file}: modules_to_save has {short_repr(name)}, but it has no tensor")
        rows = any("rows" in change for change in self._changes.values())
        if self._config.get("trainable_token_indices") and not rows:
            raise VersionError(f"{self._file}: trainable_token_indices is set, but there are no trained rows")
        layers = self._config.get("layers_to_transform")
        if isinstance(self._config.get("target_modules"), str) or self._config.get("exclude_modules"):
            return  # a pattern; the tensors' names say what it matches
        if isinstance(layers, int):
            layers = [layers]
        if layers is not None and not (isinstance(layers, list) and all(isinstance(layer, int) for layer in layers)):
            raise VersionError(f"{self._path}: layers_to_transform must be layer numbers, found {short_repr(layers)}")
        only = set(layers) if layers else None
        for name in self._names("target_modules"):
            for target in sorted(known):
                module, _, own = target.rpartition(".")
                layer = re.search(r"\.layers\.(\d+)\.", target)
                matches = own == "weight" and f".{module}".endswith(f".{name}")
                if only is not None and not (layer and int(layer[1]) in only):
                    continue
                if matches and not {"A", "embedding A"} & set(self._changes.get(target, ())):
                    raise VersionError(f"{self._file}: {module} was trained, but it has no tensor")

    def _names(self, setting: str) -> list[str]:
        names = self._config.get(setting) or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise VersionError(f"{self._path}: {setting} must be a list of names, found {short_repr(names)}")
        return names

    def _error(self, target: str, what: str) -> VersionError:
        return VersionError(f"{self._file}: {short_repr(self._keys.get(target, target), 120)}: {what}")
