"""What a server says of itself, and how it ends."""

from __future__ import annotations

from waveglow.vocoder import Vocoder


def test_a_server_that_is_warm_says_so(server):
    assert server.client.get("/health/live").json() == {"live": True}
    assert server.client.get("/health/ready").json() == {"ready": True}
    assert server.metric("waveglow_ready") == 1


def test_models_tell_what_a_caller_needs_to_know(server, tiny):
    (model,) = server.client.get("/v1/models").json()["models"]
    vocoder = Vocoder.load(tiny)
    assert model["name"] == "tiny"
    assert model["mel"] == vocoder.mel_spec.to_dict()
    assert (model["sample_rate"], model["hop"], model["parameters"]) == (22_050, 256, vocoder.parameters)
    assert (model["reach"]["before"], model["reach"]["after"]) == tuple(vocoder.reach())
    assert model["real_time_factor"] > 0


def test_what_is_no_call_is_told_in_json(server):
    assert server.client.get("/v2/models").json() == {"code": "not_found", "message": "/v2/models: no such call"}
    assert server.client.post("/v1/models").json() == {"code": "method", "message": "/v1/models: not by POST"}
