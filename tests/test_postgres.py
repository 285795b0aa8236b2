"""The server that other tests rely on, from the wheel as on a machine without PostgreSQL."""

import signal

from tests.postgres import Server, wheel_programs


def test_the_wheel_s_programs_make_a_server_that_survives_a_crash() -> None:
    server = Server(folder_of_programs=wheel_programs())
    try:
        url = server.create_database(lambda _: None)
        assert url != server.create_database(lambda _: None)
        with server.connect("study_1") as connection:
            connection.execute("CREATE TABLE kept (x int)")
        server.stop(signal.SIGQUIT)
        server.start()
        with server.connect("study_1") as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    finally:
        server.remove()
    assert not server.directory.exists()
