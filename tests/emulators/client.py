"""A bare client of the emulated services: requests as the reference writes them, answers as they come."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from qrmi_testkit.emulators import DirectAccess, Runtime
from qrmi_testkit.emulators.accounts import Account

DATA = Path(__file__).parents[1] / "data"
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
PATIENCE_S = 60.0


def sample(name: str) -> dict[str, Any]:
    """A payload of tests/data."""
    return json.loads((DATA / name).read_text())


def until(holds: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """What *holds* returns, once that is true."""
    end = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found


def good(reply: requests.Response) -> Any:
    """What a reply of success says."""
    assert reply.ok, (reply.status_code, reply.text)
    return reply.json()


class Client:
    """One account's view of a service."""

    def __init__(self, service: DirectAccess | Runtime, account: Account | None = None) -> None:
        self.service = service
        self.account = account or service.options.account
        self.http = requests.Session()
        self.renew()

    def renew(self) -> None:
        """Get a token, and use it from now on."""
        form = {"grant_type": GRANT, "apikey": self.account.api_key}
        self.token = self.request_token(form).json()
        self.http.headers["Authorization"] = f"Bearer {self.token['access_token']}"
        self.http.headers["Service-CRN"] = self.account.crn

    def request_token(self, form: dict[str, str]) -> requests.Response:
        """Ask IAM."""
        return requests.post(f"{self.service.url}/identity/token", data=form, timeout=PATIENCE_S)

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        url = self.service.url + self.service.base_path + path
        return self.http.request(method, url, timeout=PATIENCE_S, **more)

    def close(self) -> None:
        self.http.close()


class DirectClient(Client):
    """What a client of Direct Access does around a job."""

    def __init__(self, service: DirectAccess, account: Account | None = None) -> None:
        super().__init__(service, account)
        self.bucket = service.storage.bucket
        self.s3 = boto3.client(
            "s3",
            endpoint_url=service.storage_url,
            region_name=service.storage.region,
            aws_access_key_id=service.storage.access_key,
            aws_secret_access_key=service.storage.secret_key,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def url(self, verb: str, key: str, expires_s: int = 3600) -> dict[str, str]:
        """One member of a job's storage."""
        what = {"Bucket": self.bucket, "Key": key}
        url = self.s3.generate_presigned_url(verb, Params=what, ExpiresIn=expires_s)
        return {"type": "s3_compatible", "presigned_url": url}

    def body(self, parameters: Any, job_id: str | None = None, expires_s: int = 3600, **more: Any) -> dict[str, Any]:
        """Upload the input, and return what to post."""
        job_id = job_id or str(uuid.uuid4())
        self.s3.put_object(Bucket=self.bucket, Key=f"input_{job_id}.json", Body=json.dumps(parameters).encode())
        storage = {
            "input": self.url("get_object", f"input_{job_id}.json", expires_s),
            "results": self.url("put_object", f"results_{job_id}.json", expires_s),
            "logs": self.url("put_object", f"logs_{job_id}.json", expires_s),
        }
        body = {"id": job_id, "backend": next(iter(self.service.devices)), "program_id": "sampler"}
        return {**body, "log_level": "debug", "timeout_secs": 100, "storage": storage, **more}

    def start(self, name: str = "sampler_bell.json", **more: Any) -> str:
        """Submit a sample; its id."""
        payload = sample(name)
        body = self.body(payload["parameters"], **{"program_id": payload["program_id"], **more})
        reply = self("POST", "/v1/jobs", json=body)
        assert 204 == reply.status_code, reply.text
        return body["id"]

    def show(self, job_id: str) -> dict[str, Any]:
        return good(self("GET", f"/v1/jobs/{job_id}"))

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended."""
        return until(lambda: None if (job := self.show(job_id))["status"] == "Running" else job)

    def object(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()


class RuntimeClient(Client):
    """What a client of Qiskit Runtime does around a job."""

    def body(self, name: str = "sampler_bell.json", **more: Any) -> dict[str, Any]:
        """What to post for a sample."""
        payload = sample(name)
        backend = next(iter(self.service.devices))
        return {"program_id": payload["program_id"], "backend": backend, "params": payload["parameters"], **more}

    def start(self, name: str = "sampler_bell.json", **more: Any) -> str:
        """Submit a sample; its id."""
        reply = self("POST", "/jobs", json=self.body(name, **more))
        assert 200 == reply.status_code, reply.text
        return reply.json()["id"]

    def show(self, job_id: str) -> dict[str, Any]:
        return good(self("GET", f"/jobs/{job_id}", params={"exclude_params": "true"}))

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, once it has ended."""
        return until(lambda: None if (job := self.show(job_id))["status"] in ("Queued", "Running") else job)

    def session(self, mode: str = "dedicated", **more: Any) -> str:
        """Open a session; its id."""
        backend = next(iter(self.service.devices))
        reply = self("POST", "/sessions", json={"mode": mode, "backend": backend, **more})
        return good(reply)["id"]
