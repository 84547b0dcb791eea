"""The unmodified official Python client against daytona-local; python.test.mjs runs it.

Prints `ok NAME` for each check, and ends with an error at the first that fails.
"""

import os
import time
import urllib.request

from daytona import CreateSandboxFromSnapshotParams, Daytona, DaytonaConfig, DaytonaError, SessionExecuteRequest

daytona = Daytona(DaytonaConfig(api_url=os.environ["DAYTONA_API_URL"], api_key=os.environ["DAYTONA_API_KEY"]))


def refused(call):
    """Runs what the server must refuse; gives what the client says of it."""
    try:
        call()
    except DaytonaError as error:
        return str(error)
    raise AssertionError("it was not refused")


def creates_and_finds():
    assert sandbox.state == "started", sandbox.state
    assert daytona.get("first").id == sandbox.id
    sandbox.set_labels({"app": "compat", "more": "x"})
    assert daytona.get(sandbox.id).labels["more"] == "x"
    listed = daytona.list(labels={"app": "compat"}) if "labels" in daytona.list.__code__.co_varnames else None
    if listed is None:
        from daytona import ListSandboxesQuery

        listed = daytona.list(ListSandboxesQuery(labels={"app": "compat"}))
    assert [found.id for found in getattr(listed, "items", listed)] == [sandbox.id]


def runs_commands():
    run = sandbox.process.exec
    assert run("echo $GIVEN").result == "yes\n"
    assert run("exit 3").exit_code == 3
    assert run("pwd", cwd="/tmp").result == "/tmp\n"
    assert run("echo $MORE", env={"MORE": "env"}).result == "env\n"
    refused(lambda: run("sleep 30", timeout=1))


def keeps_sessions():
    process = sandbox.process
    process.create_session("s")
    process.execute_session_command("s", SessionExecuteRequest(command="cd /tmp"))
    done = process.execute_session_command("s", SessionExecuteRequest(command="pwd; echo err >&2"))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "/tmp\n", "err\n"), done
    slow = process.execute_session_command("s", SessionExecuteRequest(command="read line; echo got $line", run_async=True))
    if hasattr(process, "send_session_command_input"):
        process.send_session_command_input("s", slow.cmd_id, "this")
        while process.get_session_command("s", slow.cmd_id).exit_code is None:
            pass
        assert "got this" in process.get_session_command_logs("s", slow.cmd_id).stdout
    process.delete_session("s")


def moves_files():
    fs = sandbox.fs
    fs.create_folder("dir", "755")
    fs.upload_file(b"one\n", "dir/one")
    assert fs.download_file("dir/one") == b"one\n"
    assert [found.name for found in fs.list_files("dir")] == ["one"]
    assert fs.get_file_info("dir/one").size == 4
    fs.move_files("dir/one", "dir/two")
    fs.delete_file("dir/two")
    refused(lambda: fs.get_file_info("dir/two"))


def shows_a_port():
    serve = "mkdir -p web; echo hello > web/index.html; cd web; nohup python3 -m http.server 3000 >/dev/null 2>&1 </dev/null &"
    sandbox.process.exec(serve)
    link = sandbox.get_preview_link(3000)
    signed = sandbox.create_signed_preview_url(3000, 60)
    request = urllib.request.Request(link.url, headers={"x-daytona-preview-token": link.token})
    while True:
        try:
            seen = urllib.request.urlopen(request).read()
            break
        except urllib.error.HTTPError as error:
            assert error.code == 502, error
            time.sleep(0.05)
    assert seen == b"hello\n"
    assert urllib.request.urlopen(signed.url).read() == b"hello\n"


def keeps_files_over_a_stop():
    sandbox.process.exec("echo kept > f")
    sandbox.stop()
    assert sandbox.state == "stopped", sandbox.state
    sandbox.start()
    assert sandbox.process.exec("cat f").result == "kept\n"


def is_gone_when_it_is_deleted():
    sandbox.delete()
    while True:
        try:
            daytona.get(sandbox.id)
        except DaytonaError:
            break


sandbox = daytona.create(CreateSandboxFromSnapshotParams(name="first", labels={"app": "compat"}, env_vars={"GIVEN": "yes"}))
for check in [
    creates_and_finds,
    runs_commands,
    keeps_sessions,
    moves_files,
    shows_a_port,
    keeps_files_over_a_stop,
    is_gone_when_it_is_deleted,
]:
    check()
    print("ok", check.__name__.replace("_", " "), flush=True)
