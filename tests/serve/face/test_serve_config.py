"""Settings: where they come from, which are refused, and that what is printed can be read back."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from minireranker.errors import ConfigurationError
from minireranker.serve.config import ServeConfig
from minireranker.serve.config_sources import as_toml, settle


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "serve.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_each_source_is_above_the_one_before(written):
    file = written('host = "a"\nqueue_documents = 1\ncall_documents = 2\nround_documents = 3')
    environment = {
        "MINIRERANKER_SERVE_CALL_DOCUMENTS": "20",
        "MINIRERANKER_SERVE_ROUND_DOCUMENTS": "30",
    }
    found = settle(file, environment, {"round_documents": "300", "host": None})
    assert found.config == ServeConfig(
        host="a", queue_documents=1, call_documents=20, round_documents=300
    )
    names = ("host", "call_documents", "round_documents", "model")
    assert [found.origins[name] for name in names] == [str(file), "environment", "flag", "default"]


def test_the_file_may_be_named_by_a_variable(written):
    file = written("http_port = 7")
    found = settle(environment={"MINIRERANKER_SERVE_CONFIG": str(file)})
    assert found.config.http_port == 7


def test_what_is_printed_can_be_read_back(written):
    first = settle(
        environment={
            "MINIRERANKER_SERVE_URL_HOSTS": "a.example, *.b.example",
            "MINIRERANKER_SERVE_PATH_ROOTS": "/data,/more",
            "MINIRERANKER_SERVE_KEEP_RATIO": "0.5",
            "MINIRERANKER_SERVE_GRPC_PORT": "off",
            "MINIRERANKER_SERVE_PAGE": "no",
            "MINIRERANKER_SERVE_TOKEN": "a-secret-that-stays-one",
            "MINIRERANKER_SERVE_MODEL": 'a "quoted" \\ name',
        }
    )
    assert first.config.url_hosts == ("a.example", "*.b.example")
    assert first.config.grpc_port is None
    text = as_toml(first)
    assert "a-secret" not in text
    assert "a-secret" not in repr(first.config)
    again = settle(written(text))
    assert again.config == dataclasses.replace(first.config, token=None)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("http_prot", "http_port"), ("queue", "queue_bytes"), ("HOST", "host"), ("x", "")],
)
def test_an_unknown_name_is_told_its_nearest(written, name, nearest):
    with pytest.raises(ConfigurationError, match=f"no setting '{name}'.*{nearest}"):
        settle(written(f"{name} = 1"))


def test_an_unknown_variable_is_an_error_but_not_what_a_cluster_sets():
    with pytest.raises(ConfigurationError, match=r"http_prot.*http_port"):
        settle(environment={"MINIRERANKER_SERVE_HTTP_PROT": "1"})
    cluster = {
        "MINIRERANKER_SERVE_SERVICE_HOST": "10.0.0.1",
        "MINIRERANKER_SERVE_SERVICE_PORT_HTTP": "80",
        "MINIRERANKER_SERVE_PORT": "tcp://10.0.0.1:80",
        "MINIRERANKER_SERVE_PORT_80_TCP_ADDR": "10.0.0.1",
        "MINIRERANKER_SERVE_HOST": "",
        "MINIRERANKER_CACHE": "/elsewhere",
    }
    assert settle(environment=cluster).config == ServeConfig()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"http_port": 65_536}, "http_port = 65536: allowed is 0 to 65535"),
        ({"http_port": True}, "http_port = True"),
        ({"keep_ratio": 0.0}, "above 0"),
        ({"keep_ratio": 1.5}, "at most 1"),
        ({"deadline_seconds": float("nan")}, "finite"),
        ({"grace_seconds": float("inf")}, "finite"),
        ({"queue_documents": 0}, "queue_documents = 0: allowed is 1 or more"),
        ({"log_level": "loud"}, "debug, info, warning, error"),
        ({"url_hosts": ["a"]}, "tuple"),
        ({"url_ports": ("80",)}, "tuple"),
        ({"url_networks": ("10.0.0.1/8",)}, "10.1.0.0/16"),
        ({"tls_key": "key.pem"}, "tls_key"),
        ({"disk_bytes": 5}, "folder"),
        ({"token": "  "}, "not blank"),
        ({"host": None}, "host = None"),
    ],
)
def test_what_cannot_be_honoured_is_refused(values, message):
    with pytest.raises(ConfigurationError, match=message):
        ServeConfig(**values)


def test_tls_files_come_together(tmp_path):
    with pytest.raises(ConfigurationError, match="give both"):
        ServeConfig(tls_certificate=tmp_path / "a")
    with pytest.raises(ConfigurationError, match="tls_client_ca needs"):
        ServeConfig(tls_client_ca=tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [("http_port = ", "serve.toml"), ('http_port = "80"', "http_port"), ("host = 1", "host = 1")],
)
def test_a_file_is_held_to_its_types(written, text, message):
    with pytest.raises(ConfigurationError, match=message):
        settle(written(text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        settle(tmp_path / "nowhere.toml")


@settings(deadline=None)
@given(st.sampled_from(dataclasses.fields(ServeConfig)), st.text(max_size=20))
def test_no_text_of_a_variable_does_more_than_be_refused(spec, text):
    message = spec.name
    try:
        settle(environment={f"MINIRERANKER_SERVE_{spec.name.upper()}": text})
    except ConfigurationError as error:
        message = str(error)
    assert spec.name in message


class TestCommand:
    @pytest.fixture
    def invoke(self):
        import typer

        from minireranker.commands.serve import serve

        app = typer.Typer()
        app.command()(serve)
        return lambda *words, **options: CliRunner().invoke(app, words, **options)

    def test_print_config_shows_values_and_origins(self, invoke):
        words = ("--print-config", "--http-port", "0", "--url-hosts", "a,b", "--no-page")
        done = invoke(*words, env={"MINIRERANKER_SERVE_LOG_LEVEL": "error"})
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        assert "http_port = 0  # flag" in lines
        assert 'url_hosts = ["a", "b"]  # flag' in lines
        assert "page = false  # flag" in lines
        assert 'log_level = "error"  # environment' in lines
        assert "queue_documents = 1024  # default" in lines

    def test_every_setting_but_secrets_has_a_flag(self, invoke):
        shown = invoke("--help", env={"COLUMNS": "300"}).stdout
        flags = {
            spec.name: f"--{spec.name.replace('_', '-')}"
            for spec in dataclasses.fields(ServeConfig)
        }
        missing = [name for name, flag in flags.items() if flag not in shown]
        assert missing == ["token"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ((), "no model"),
            (("--model", "builtin", "--grpc-port", "off"), "both ports are off"),
            (("--queue-documents", "many"), "queue_documents = 'many'"),
        ],
    )
    def test_what_cannot_be_served_is_refused(self, invoke, words, message):
        done = invoke(*words)
        assert isinstance(done.exception, ConfigurationError)
        assert message in str(done.exception)
