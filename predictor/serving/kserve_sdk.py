"""What this server uses of the KServe SDK, without its heavy imports (kserve_import.py).

No other module of the server imports kserve.
"""

from predictor.serving.kserve_import import import_kserve

import_kserve()

from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER  # noqa: E402
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady  # noqa: E402
from kserve.model import Model  # noqa: E402
from kserve.model_repository import ModelRepository  # noqa: E402
from kserve.model_server import ModelServer, app  # noqa: E402
from kserve.protocol.dataplane import DataPlane  # noqa: E402
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # noqa: E402
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc  # noqa: E402
from kserve.protocol.grpc.server import GRPCServer  # noqa: E402
from kserve.protocol.grpc.servicer import InferenceServicer  # noqa: E402
from kserve.protocol.infer_type import (  # noqa: E402
    InferInput,
    InferOutput,
    InferRequest,
    InferResponse,
    RequestedOutput,
)
from kserve.protocol.rest.server import RESTServer, metrics_handler  # noqa: E402
from kserve.protocol.rest.v1_endpoints import V1Endpoints  # noqa: E402
from kserve.protocol.rest.v2_endpoints import V2Endpoints  # noqa: E402

__all__ = [
    "INFERENCE_CONTENT_LENGTH_HEADER",
    "DataPlane",
    "GRPCServer",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceServicer",
    "InvalidInput",
    "Model",
    "ModelNotFound",
    "ModelNotReady",
    "ModelRepository",
    "ModelServer",
    "RESTServer",
    "RequestedOutput",
    "ServerNotReady",
    "V1Endpoints",
    "V2Endpoints",
    "app",
    "metrics_handler",
    "pb",
    "pb_grpc",
]
