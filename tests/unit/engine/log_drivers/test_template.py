"""Tags of log drivers: Go's templates on what is known of a container."""

import pytest

from sampan.engine.log_drivers.message import Source, check_tag, tag
from sampan.errors import InvalidParameter

SOURCE = Source(
    container_id="c" * 64,
    name="web",
    image_id="sha256:" + "d" * 64,
    image_name="nginx:1",
    command=("nginx", "-g"),
    created=1_700_000_000_123_456_789,
    daemon_name="docker",
    labels={"team": "a", "b c": "<x>"},
    env=("TEAM=b",),
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", "c" * 12),
        ("plain", "plain"),
        ("{{.Name}}/{{ .ImageName }}", "web/nginx:1"),
        ("{{.ImageID}} {{.ImageFullID}}", f"{'d' * 12} sha256:{'d' * 64}"),
        ("{{.DaemonName}}: {{.Command}}", "docker: nginx -g"),
        ("{{.FullID}}", "c" * 64),
        ("{{.ContainerName}} {{.ContainerEntrypoint}} {{.ContainerArgs}}", "/web nginx [-g]"),
        ("{{.ContainerLabels}}", "map[b c:<x> team:a]"),
        ("{{.ContainerLabels.team}}{{.ContainerLabels.none}}", "a<no value>"),
        ('{{index .ContainerLabels "b c"}}', "<x>"),
        ("{{.ExtraAttributes nil}}", "map[team:a]"),
        ("{{(.ExtraAttributes nil).team}}", "a"),
        ("{{upper .Name}} {{.Name | title}} {{lower `ABC`}}", "WEB Web abc"),
        ('{{join (split .ImageName ":") "-"}}', "nginx-1"),
        ("{{json .ContainerLabels}}", '{"b c":"<x>","team":"a"}'),
        ("{{truncate .FullID 4}}{{pad .Name 1 2}}|", "cccc web  |"),
        ('{{printf "%s-%05d %q %v" .Name 7 "x" true}}', 'web-00007 "x" true'),
        ("{{println .Name 1}}", "web 1\n"),
        ('{{if eq .Name "db" "web"}}yes{{else}}no{{end}}', "yes"),
        ("{{if false}}1{{else if not true}}2{{else}}3{{end}}", "3"),
        ("{{with .ContainerLabels}}{{.team}}{{end}}", "a"),
        ("{{range .ContainerEnv}}<{{.}}>{{else}}none{{end}}", "<TEAM=b>"),
        ("a {{- .Name -}} b{{/* nothing */}}", "awebb"),
        ('{{"}}"}}{{len .Name}}', "}}3"),
        ("{{slice .FullID 0 3}} {{or nil .Name}} {{and .Name 0}}", "ccc web 0"),
        ("{{html .ContainerLabels}} {{urlquery .ImageName}}", "map[b c:&lt;x&gt; team:a] nginx%3A1"),
    ],
)
def test_a_template_is_filled_in(template: str, expected: str) -> None:
    assert tag({"tag": template, "labels": "team"}, SOURCE) == expected
    check_tag({"tag": template})


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{.Nope}}", 'executing "log-tag" at <.Nope>: can\'t evaluate field Nope in type *logger.Info'),
        ("{{.ID", "unclosed action"),
        ("{{nope .ID}}", 'function "nope" not defined'),
        ("{{.ID}", "unclosed action"),
        ("{{}}", "missing value for command"),
        ("{{if .ID}}x", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{(.ID}}", "unclosed left paren"),
        ("{{.ID)}}", 'unexpected ")" in operand'),
        ("{{.ID | }}", "missing value for command"),
        ("{{@}}", 'unexpected "@" in command'),
        ('{{"a" "b"}}', "can't give argument to non-function"),
    ],
)
def test_a_template_that_cannot_be_is_refused(template: str, told: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_tag({"tag": template})
    assert "failed to initialize logging driver: template: log-tag:1: " in str(refused.value)
    assert told in str(refused.value)


@pytest.mark.parametrize("template", ["{{upper 3}}", "{{truncate .ID}}", "{{index .ContainerArgs 9}}", "{{.ID 1}}"])
def test_what_cannot_be_evaluated_is_named(template: str) -> None:
    with pytest.raises(InvalidParameter, match='executing "log-tag" at <'):
        tag({"tag": template}, SOURCE)
