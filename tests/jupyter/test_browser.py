"""JupyterLab in a real browser, with the extension enabled."""

import shutil
from contextlib import contextmanager

from builders import absent
from programs import Lab, event, wait_until

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync", "--disable-quic"]


@contextmanager
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, headless=True)
        try:
            yield running
        finally:
            running.close()


class TestLab:
    def test_session_arrives_and_shows_no_error(self, started, otlp_receiver, tmp_path):
        """A notebook is created, run and saved by hand, so to speak."""
        if CHROMIUM is None:
            absent("Debian's chromium")
        config = {"ServerApp": {"jpserver_extensions": {"jupyter_otel_telemetry": True}}}
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint, "OTEL_BLRP_SCHEDULE_DELAY": "50"}
        lab = started(Lab, config, tmp_path / "lab", env)
        with browser() as chromium:
            page = chromium.new_page()
            errors = []
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(f"{lab.url}/lab?token={lab.token}")
            page.locator(".jp-LauncherCard[data-category=Notebook]").first.click(timeout=60_000)
            cell = page.locator(".jp-Notebook .cm-content").first
            cell.click(timeout=60_000)
            cell.type("6 * 7")
            # What is run before the kernel is there is run never.
            page.get_by_text("| Idle").wait_for(timeout=60_000)
            page.keyboard.press("Shift+Enter")
            page.locator(".jp-OutputArea-output", has_text="42").wait_for(timeout=60_000)
            page.keyboard.press("Control+s")
            page.locator(".jp-Dialog input").first.fill("penguins.ipynb")
            page.get_by_role("button", name="Rename and Save").click()
            self.wait_for_events(
                otlp_receiver, {"action": "start"}, {"action": "rename", "path": "penguins.ipynb"}, {"action": "save"}
            )
            page.get_by_role("button", name="Rename and Save").wait_for(state="detached")
            errors += page.locator(".jp-Dialog, .jp-mod-error, .Toastify__toast--error").all_inner_texts()

        # Not any error: JupyterLab has races of its own, between a rename and a look into the folder for instance,
        # and its server between a kernel's start and its WebSocket.
        assert [error for error in errors if "otel" in error.lower() or "/api/events" in error] == []
        ours = [line for line in lab.output.splitlines() if "otel_telemetry" in line]
        # The warning that these schemas say personal-data: true is wanted.
        assert [line for line in ours if not line.startswith("[I ") and "personal-data: true" not in line] == []

    def wait_for_events(self, receiver, *wanted):
        def are_there():
            seen = [event(log).items() for log in receiver.logs]
            return all(any(one >= properties.items() for one in seen) for properties in wanted)

        wait_until(are_there, f"{wanted} arrive", 60)
