"""Credentials of the three clouds: which are taken, that they are renewed, and that nothing shows them.

What metadata addresses and token services say comes from `identities`; STS and Secrets Manager are moto's.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest

from glacier_prefect import Secret, environments, run_context
from glacier_prefect.credentials import AWSCredentials, AzureCredentials, Credentials, GCPCredentials
from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import ConfigurationError, StoreDenied
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider
from tests.clouds.identities import Identities, external_account, on_google
from tests.clouds.key_vault import KeyVault
from tests.clouds.proxy import Fault, Proxy

Cloud = S3 | Azure | GCS
PROVIDERS: dict[str, type[CloudProvider]] = {"s3": AWSProvider, "azure": AzureProvider, "gcs": GCPProvider}
LOGGER = "prefect.glacier.credentials"
PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "CLOUDSDK_", "GCE_", "IDENTITY_", "MSI_", "GCLOUD_", "K_SERVICE")

pytestmark = pytest.mark.filterwarnings("ignore:the `credential_provider` parameter")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    logger = logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "propagate", False)  # Prefect may have set that for all loggers below its own
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(caplog.handler)


@pytest.fixture
def identities() -> Iterator[Identities]:
    with Identities() as identities:
        yield identities


def found(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Credentials:
    """The credentials of the cloud's provider, from variables alone."""
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    return PROVIDERS[cloud.name].from_env().credentials


def values_of(cloud: Cloud) -> list[str]:
    if isinstance(cloud, S3):
        return [cloud.secret_access_key]
    if isinstance(cloud, Azure):
        return [cloud.account_key]
    return [str(cloud.service_account["private_key"])[40:80]]


def written(text: str, file: Path) -> str:
    file.write_text(text)
    return str(file)


# -- every cloud -------------------------------------------------------------------------------------------------------


def test_polars_and_obstore_read_and_write_with_credentials_from_variables(
    cloud: Cloud, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = found(cloud, monkeypatch)
    options: Any = {"storage_options": credentials.storage_options(), "credential_provider": credentials}
    pl.LazyFrame({"a": [1, 2, 3]}).sink_parquet(cloud.uri(bucket, "x/data.parquet"), **options)
    assert pl.scan_parquet(cloud.uri(bucket, "x/data.parquet"), **options).collect()["a"].to_list() == [1, 2, 3]
    store = credentials.store(bucket)
    assert [each["path"] for each in obstore.list(store).collect()] == ["x/data.parquet"]
    assert credentials.store(bucket) is store


def test_a_secret_is_in_no_option_repr_pickle_or_log(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    credentials = found(cloud, monkeypatch)
    provider = PROVIDERS[cloud.name].from_env()
    with caplog.at_level(logging.DEBUG):
        used = credentials.used()
        given = {**credentials()[0], "aws_access_key_id": ""}  # an id is no secret, and neither is "emulator"
        secrets = [*values_of(cloud), *(value for value in given.values() if len(value) > len("emulator"))]
        logging.getLogger("any").warning("got %s", credentials()[0])
    source, sink = provider.bucket_source("b", "x.parquet"), provider.bucket_sink("b", "x.parquet")
    shown = [repr(each) for each in (credentials, provider, source, sink, sink.twin(), used)]
    shown += [repr(credentials.storage_options()), str(source.metadata()), caplog.text, str(used)]
    shown += [repr(pickle.dumps(each)) for each in (credentials, provider, source, sink)]
    assert not [(secret, text) for secret in secrets for text in shown if secret in text]
    assert pickle.loads(pickle.dumps(credentials)) == credentials
    assert hash(pickle.loads(pickle.dumps(credentials))) == hash(credentials)
    assert "credentials from" in caplog.text


def test_which_credentials_are_used_is_logged_once(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", "/a/home/of/this/test")  # so that these are not known yet
    for _ in range(3):
        found(cloud, monkeypatch).storage_options()
    assert len([each for each in caplog.records if each.name == LOGGER]) == 1


@pytest.mark.parametrize("kind", [AWSCredentials, AzureCredentials, GCPCredentials])
def test_none_at_all_is_an_error_that_says_what_to_do_and_comes_soon(kind: type[Credentials]) -> None:
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"No credentials of .* were found.\nHint: .*credentials_block="):
        kind().storage_options()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("provider", [AWSProvider, AzureProvider, GCPProvider])
def test_an_address_with_a_password_is_refused_and_not_shown(provider: type[CloudProvider]) -> None:
    with pytest.raises(ConfigurationError, match="credentials never stand in settings") as caught:
        provider(endpoint_url="https://me:planted-password@store.example.com")
    assert "planted" not in str(caught.value)


RUN = """
import sys
import polars as pl
from glacier_prefect import LocalExecutor, pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
raw = provider.bucket_source(bucket="{bucket}", path="raw.parquet")
out = provider.bucket_sink(bucket="{bucket}", path="out.parquet")
missing = provider.bucket_source(bucket="no-such-bucket", path="raw.parquet")

@task(retries=1, retry_delay_seconds=0, persist_result=True)
def load(source):
    print(source, provider, provider.credentials)
    return source.scan()

@task(executor=LocalExecutor(processes=1))
def elsewhere(frame, source):
    return pl.concat([frame, source.scan()])

@pipeline
def works():
    return out.write(elsewhere(load(raw), raw))

@pipeline
def fails():
    return load(missing)

works.run()
try:
    fails.run()
except Exception as error:
    print("FAILED", repr(error))
"""


def test_nothing_that_a_run_in_a_cloud_leaves_has_its_credentials_in_it(
    cloud: Cloud, bucket: str, tmp_path: Path
) -> None:
    pl.DataFrame({"a": [1, 2]}).write_parquet(cloud.uri(bucket, "raw.parquet"), storage_options=cloud.storage_options)
    folder, home = tmp_path / "project", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "flow.py").write_text(RUN.replace("{bucket}", bucket))
    kind = PROVIDERS[cloud.name].name
    (folder / "glacier.toml").write_text(f'project = "acme"\n[environments.dev]\nprovider = "{kind}"\n')
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    env = {**inherited, **cloud.env, "HOME": str(home), "PREFECT_HOME": str(home), "PREFECT_LOGGING_LEVEL": "DEBUG"}
    done = subprocess.run([sys.executable, "flow.py"], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" in done.stdout
    assert "credentials from the variable " in done.stderr
    left = [file.read_bytes() for place in (folder, home) for file in place.rglob("*") if file.is_file()]
    store = cloud.store(bucket)
    names = [each["path"] for each in obstore.list(store).collect()]
    assert "out.parquet" in names
    left += [bytes(obstore.get(store, name).bytes()) for name in names]
    left += [done.stdout.encode(), done.stderr.encode()]
    assert not [secret for secret in values_of(cloud) for content in left if secret.encode() in content]


# -- AWS ---------------------------------------------------------------------------------------------------------------

PROFILES = """
[profile dev]
region = eu-west-3
aws_access_key_id = key-of-dev
aws_secret_access_key = secret-of-dev
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = dev
[default]
aws_access_key_id = key-of-default
aws_secret_access_key = secret-of-default
"""


@pytest.fixture
def aws(s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, identities: Identities) -> dict[str, dict[str, str]]:
    """Variables of every place that AWS credentials come from."""
    monkeypatch.setenv("AWS_CONFIG_FILE", written(PROFILES, tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    token = written("a-web-token", tmp_path / "token")
    return {
        "web": {
            "AWS_WEB_IDENTITY_TOKEN_FILE": token,
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/web",
        },
        "ecs": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{identities.url}/ecs"},
        "ec2": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{identities.url}/"},
        "profile": {"AWS_PROFILE": "dev"},
        "role": {"AWS_PROFILE": "role"},
        "keys": {"AWS_ACCESS_KEY_ID": "a-key-id", "AWS_SECRET_ACCESS_KEY": "a-secret"},
    }


@pytest.mark.parametrize(
    ("places", "source"),
    [
        (["web", "ecs", "ec2", "profile", "keys"], "web identity token"),
        (["ecs", "ec2", "profile", "keys"], "role of the task (ECS)"),
        (["ec2", "profile", "keys"], "role of the instance (EC2)"),
        (["profile", "keys"], "profile 'dev'"),
        (["role", "keys"], "profile 'role'"),
        (["keys"], "the variable AWS_ACCESS_KEY_ID"),
        ([], "the default profile"),
    ],
)
def test_aws_takes_the_first_in_order(
    aws: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch, places: list[str], source: str
) -> None:
    for name, value in {name: value for place in places for name, value in aws[place].items()}.items():
        monkeypatch.setenv(name, value)
    credentials = AWSProvider.from_env().credentials
    used = credentials.used()
    assert used.source == source
    assert (used.expires is not None) == (places[:1] != ["keys"] and source.startswith(("web", "role", "profile 'r")))
    assert set(credentials()[0]) >= {"aws_access_key_id", "aws_secret_access_key"}


def test_a_profile_that_is_not_there_is_an_error_but_not_where_the_machine_has_a_role(
    aws: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "laptop")
    with pytest.raises(ConfigurationError, match="AWS profile 'laptop' cannot be used"):
        AWSProvider.from_env().credentials.used()
    monkeypatch.setenv(*next(iter(aws["ecs"].items())))
    assert AWSProvider.from_env().credentials.used().source == "role of the task (ECS)"


def test_credentials_that_cannot_be_had_are_an_error_that_says_from_where(
    aws: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "role")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    with pytest.raises(StoreDenied, match=r"Credentials from profile 'role' cannot be had: .*127.0.0.1:1"):
        AWSProvider.from_env().credentials.storage_options()


def test_the_region_of_a_profile_is_used_and_none_at_all_is_an_error(
    aws: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert AWSProvider(profile="dev").credentials.storage_options() == {"aws_region": "eu-west-3"}
    with pytest.raises(ConfigurationError, match=r"AWSProvider needs region=, or the environment variable AWS_REGION"):
        AWSProvider().credentials.storage_options()


def test_a_long_read_goes_on_with_new_tokens_when_the_old_ones_end(
    s3: S3, make_bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(s3)
    frame = pl.DataFrame({"a": range(1000)})
    for number in range(8):
        frame.write_parquet(f"s3://{bucket}/x/{number}.parquet", storage_options=s3.storage_options)
    with Identities(lifetime=2) as identities, Proxy(behind=s3.port) as proxy:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{identities.url}/ecs")
        credentials = AWSCredentials(region="us-east-1", endpoint_url=s3.at(proxy.port).url)
        options: Any = {"storage_options": credentials.storage_options(), "credential_provider": credentials}

        def slow(part: pl.DataFrame) -> pl.DataFrame:
            time.sleep(0.8)
            return part

        rows = 0
        for number in range(8):
            scan = pl.scan_parquet(f"s3://{bucket}/x/{number}.parquet", **options)
            rows += slow(scan.collect()).height
        store, before = credentials.store(bucket), len(proxy.requests)
        for _ in range(4):
            assert len(obstore.list(store).collect()) == 8
            time.sleep(1)
        tokens = [each.headers.get("x-amz-security-token") for each in proxy.requests]
    assert rows == 8000
    assert None not in tokens
    assert len(set(tokens[:before])) >= 3
    assert len(set(tokens[before:])) >= 2


def test_one_scan_that_outlives_its_token_asks_for_another(
    s3: S3, make_bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(s3)
    pl.DataFrame({"a": range(300_000)}).write_parquet(
        f"s3://{bucket}/x.parquet", storage_options=s3.storage_options, compression="uncompressed"
    )
    with Identities(lifetime=2) as identities, Proxy(behind=s3.port) as proxy:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{identities.url}/ecs")
        credentials = AWSCredentials(region="us-east-1", endpoint_url=s3.at(proxy.port).url)
        proxy.fail(Fault(kind="delay", seconds=2.6), method="GET", path=r"\.parquet", times=None)
        options: Any = {"storage_options": credentials.storage_options(), "credential_provider": credentials}
        frame = pl.scan_parquet(f"s3://{bucket}/x.parquet", **options).collect()
        tokens = [each.headers.get("x-amz-security-token") for each in proxy.requests]
    assert frame.height == 300_000
    assert len(set(tokens)) >= 2


def test_a_secret_of_aws_is_read_from_secrets_manager(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("secretsmanager")
    client.create_secret(Name="acme/db", SecretString="planted-value")
    provider = AWSProvider.from_env()
    assert provider.secret("acme/db") == "planted-value"
    with pytest.raises(
        ConfigurationError, match=r"Secret 'nothing' of AWS Secrets Manager in us-east-1 cannot be read"
    ):
        provider.secret("nothing")


def test_credentials_of_one_provider_may_be_a_secret_in_the_store_of_another(
    s3: S3, azure: Azure, make_bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import boto3

    bucket = make_bucket(azure)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    boto3.client("secretsmanager").create_secret(
        Name="acme/dr", SecretString=json.dumps({"connection_string": azure.connection_string})
    )
    (tmp_path / "glacier.toml").write_text(
        f"""
        [environments.dev]
        provider = "aws"
        credentials_secret = "ITSELF"
        [environments.dev.secrets]
        DR = "acme/dr"
        WRONG = "acme/wrong"
        ITSELF = "acme/itself"
        [environments.dev.providers.dr]
        provider = "azure"
        storage_account = "{azure.account_name}"
        endpoint_url = "{azure.url}"
        credentials_secret = "DR"
        """
    )
    monkeypatch.setattr(environments, "find_project", partial(environments.find_project, tmp_path))
    credentials = environment_provider(environments.find_project(), "dr").credentials  # type: ignore[attr-defined]
    assert credentials.used().source == "secret 'DR'"
    obstore.put(credentials.store(bucket), "a", b"1")
    assert azure.account_key not in repr(credentials) + repr(pickle.dumps(credentials))
    boto3.client("secretsmanager").create_secret(Name="acme/wrong", SecretString="planted-no-json")
    with pytest.raises(ConfigurationError, match="The secret 'WRONG' is no JSON object with account_key, ") as caught:
        AzureCredentials(storage_account="acct", credentials_secret="WRONG").used()
    assert "planted" not in str(caught.value)


# -- Azure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "source", "keys"),
    [
        ({"IDENTITY_ENDPOINT": "{url}/msi", "AZURE_STORAGE_KEY": "a-key"}, "managed identity", {"bearer_token"}),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=k==", "AZURE_STORAGE_KEY": "a-key"},
         "the variable AZURE_STORAGE_CONNECTION_STRING", {"account_key"}),
        ({"AZURE_STORAGE_KEY": "a-key", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=x"},
         "the variable AZURE_STORAGE_KEY", {"account_key"}),
        ({"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"}, "the variable AZURE_STORAGE_SAS_TOKEN", {"sas_token"}),
    ],
)  # fmt: skip
def test_azure_takes_the_first_in_order(
    identities: Identities,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    source: str,
    keys: set[str],
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-identity")
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("{url}", identities.url))
    credentials = AzureProvider(storage_account="acct").credentials
    assert credentials.used().source == source
    assert set(credentials()[0]) == keys
    assert (credentials.used().expires is not None) == (keys == {"bearer_token"})


def test_azure_takes_a_federated_token_before_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Identities() as identities:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", identities.speak_tls(tmp_path))
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", identities.url)
        monkeypatch.setenv("AZURE_CLIENT_ID", "client")
        monkeypatch.setenv("AZURE_TENANT_ID", "tenant")
        monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", written("a-jwt", tmp_path / "jwt"))
        monkeypatch.setenv("AZURE_STORAGE_KEY", "a-key")
        credentials = AzureCredentials(storage_account="acct")
        assert credentials.used().source == "federated token (workload identity)"
        assert credentials()[0]["bearer_token"].startswith("issued-token-")
        assert identities.asked == ["POST /tenant/oauth2/v2.0/token"]


def test_a_connection_string_gives_account_and_address_but_its_key_stays_out_of_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING", "AccountName=acct;AccountKey=planted==;BlobEndpoint=http://127.0.0.1:1/acct"
    )
    provider = AzureProvider.from_env()
    assert provider == AzureProvider(storage_account="acct", endpoint_url="http://127.0.0.1:1/acct")
    assert provider.credentials()[0] == {"account_key": "planted=="}
    assert "planted" not in repr(provider)


@pytest.mark.parametrize("library", ["polars", "obstore"])
def test_azure_sends_the_token_of_a_managed_identity_and_renews_it(
    azure: Azure, make_bucket: Any, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-identity")
    empty = b"<?xml version='1.0'?><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"
    with Identities(lifetime=2) as identities, Proxy(behind=azure.port) as proxy:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identities.url}/msi")
        credentials = AzureCredentials(storage_account=azure.account_name, endpoint_url=azure.at(proxy.port).url)
        proxy.fail(Fault(kind="answer", status=200, content=empty), times=None)  # Azurite takes no tokens over http
        options: Any = {"storage_options": credentials.storage_options(), "credential_provider": credentials}
        for _ in range(3):
            if library == "obstore":
                assert obstore.list(credentials.store("bucket")).collect() == []
            else:
                with pytest.raises(pl.exceptions.ComputeError, match="expanded paths were empty"):
                    pl.scan_parquet("az://bucket/x/*.parquet", **options).collect()
            time.sleep(1.5)
        sent = [each.headers.get("authorization", "") for each in proxy.requests]
    assert all(each.startswith("Bearer issued-token-") for each in sent)
    assert len(set(sent)) >= 2


def test_a_key_vault_that_is_not_named_or_does_not_answer_is_an_error(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-identity")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identities.url}/msi")
    with pytest.raises(ConfigurationError, match=r"AzureProvider needs key_vault=, or .* AZURE_KEY_VAULT_URL"):
        AzureProvider(storage_account="acct").secret("db")
    with pytest.raises(ConfigurationError, match=r"Secret 'db' of Key Vault https://127.0.0.1:1 cannot be read"):
        AzureProvider(storage_account="acct", key_vault="https://127.0.0.1:1").secret("db")


def test_a_secret_of_azure_is_read_from_key_vault_by_the_token_that_it_asks_for(
    identities: Identities, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-identity")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identities.url}/msi")
    provider = AzureProvider(storage_account="acct", key_vault="acme")
    with KeyVault(identities, tmp_path, "acme", {"db": "planted-value", "others": None}) as vault:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", vault.certificate)
        monkeypatch.setattr(socket, "getaddrinfo", vault.resolve)
        assert provider.secret("db") == "planted-value"
        assert vault.answered == [401, 200]  # asked without a token, told what it has to be for
        assert set(identities.resources.values()) == {"https://storage.azure.com", "https://vault.azure.net"}
        for name, said in {"nothing": "SecretNotFound", "others": "Forbidden"}.items():
            told = rf"Secret '{name}' of Key Vault https://acme.vault.azure.net cannot be read: .{said}."
            with pytest.raises(ConfigurationError, match=told):
                provider.secret(name)
        project = f"""
            project = "acme"
            [environments.dev]
            provider = "azure"
            storage_account = "acct"
            key_vault = "https://{vault.host}"
            [environments.dev.secrets]
            DB_PASSWORD = "db"
        """
        (tmp_path / "glacier.toml").write_text(project)
        monkeypatch.setattr(environments, "find_project", partial(environments.find_project, tmp_path))
        with run_context.entered(run_context.RunContext(run_id="r", node="n", exchange=str(tmp_path / "x/y/z"))):
            assert Secret("DB_PASSWORD").get() == "planted-value"
            calls = len(vault.answered)
            assert Secret("DB_PASSWORD").get() == "planted-value"
        assert len(vault.answered) == calls  # it is kept for minutes


# -- Google Cloud ------------------------------------------------------------------------------------------------------


def test_google_takes_the_first_in_order(
    gcs: GCS, identities: Identities, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = json.dumps(gcs.service_account)
    credentials = GCPProvider(project_id="p").credentials
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", key)
    assert credentials.used().source == "the variable GOOGLE_SERVICE_ACCOUNT_KEY"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", written(key, tmp_path / "key.json"))
    assert credentials.used().source == "the file of GOOGLE_APPLICATION_CREDENTIALS"
    on_google(identities, monkeypatch)
    assert credentials.used().source == "service account of the machine or job (metadata)"
    monkeypatch.setenv(
        "GOOGLE_APPLICATION_CREDENTIALS", written(external_account(identities.url, tmp_path), tmp_path / "ext.json")
    )
    assert credentials.used().source == "federated token (external account)"
    assert credentials()[0]["bearer_token"].startswith("issued-token-")


def test_a_store_at_an_address_of_its_own_is_asked_unsigned_where_no_key_is_given(
    gcs: GCS, make_bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(gcs)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.url.removeprefix("http://"))
    provider = GCPProvider.from_env()
    assert provider == GCPProvider(endpoint_url=gcs.url)
    assert provider.credentials.used().source == "none, as for an emulator"
    obstore.put(provider.credentials.store(bucket), "a", b"1")


def test_google_tokens_are_renewed(gcs: GCS, make_bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = make_bucket(gcs)
    obstore.put(gcs.store(bucket), "x.csv", b"a\n1\n")
    with Identities(lifetime=2) as identities, Proxy(behind=gcs.port) as proxy:
        on_google(identities, monkeypatch)
        credentials = GCPCredentials(endpoint_url=gcs.at(proxy.port).url)
        options: Any = {"storage_options": credentials.storage_options(), "credential_provider": credentials}
        for _ in range(3):
            assert pl.scan_csv(f"gs://{bucket}/x.csv", **options).collect().height == 1
            assert len(obstore.list(credentials.store(bucket)).collect()) == 1
            time.sleep(1.5)
        sent = [each.headers.get("authorization", "") for each in proxy.requests]
    assert all(each.startswith("Bearer issued-token-") for each in sent)
    assert len(set(sent)) >= 2


def test_a_secret_of_google_is_read_from_secret_manager(
    identities: Identities, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.cloud.secretmanager import SecretManagerServiceClient

    monkeypatch.setattr(SecretManagerServiceClient, "_DEFAULT_ENDPOINT_TEMPLATE", identities.url)
    on_google(identities, monkeypatch)
    provider = GCPProvider(project_id="p")
    assert provider.secret("db") == provider.secret("projects/p/secrets/db/versions/latest") == "planted-value"
    with pytest.raises(ConfigurationError, match=r"Secret 'projects/p/secrets/nothing/versions/latest' of Google"):
        provider.secret("nothing")
    with pytest.raises(ConfigurationError, match="GCPProvider needs project_id="):
        GCPProvider().secret("db")


def test_a_file_that_is_none_of_google_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", written("no json", tmp_path / "key.json"))
    with pytest.raises(ConfigurationError, match=r"key.json', which is no file of credentials"):
        GCPProvider().credentials.used()
