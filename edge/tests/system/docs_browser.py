"""The documentation page as a person uses it: sign in, call GET /profile, load it anew.

    docs_browser.py ORIGIN TOKEN SCREENSHOT

Prints what was seen as JSON. No name but `localhost` resolves, so a request elsewhere would fail
even where it were not noticed.
"""

import json
import shutil
import struct
import sys
import zlib

from playwright.sync_api import sync_playwright

PATIENCE_MS = 60_000

origin, token, screenshot = sys.argv[1:]
elsewhere, complaints = [], []


def colours(path):
    """How many bytes of the picture are different from each other, row by row as PNG has them."""
    data = open(path, "rb").read()
    at, packed = 8, b""
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += length + 12
    return len(set(zlib.decompress(packed)))


def noticed(request):
    if not request.url.startswith((origin + "/", "data:", "blob:")):
        elsewhere.append(request.url)


def said(message):
    # Swagger UI tells its own future that way.
    if message.type == "error" and not message.text.startswith("Deprecated:"):
        complaints.append(message.text)


def call(page):
    """GET /profile by the page; the status and the body it shows."""
    block = page.locator('.opblock-get:has([data-path="/profile"])')
    if "is-open" not in block.get_attribute("class"):
        block.locator(".opblock-summary-control").click()
    block.locator(".try-out__btn").click()
    block.locator(".execute").click()
    live = block.locator(".live-responses-table .response").first
    live.wait_for()
    status = live.locator(".response-col_status").inner_text().split()[0]
    return status, live.inner_text()


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=[
            "--no-sandbox",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
        ],
    )
    context = browser.new_context(
        ignore_https_errors=True, viewport={"width": 1280, "height": 1600}
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("request", noticed)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", said)
    page.goto(origin + "/docs")
    page.locator(".opblock").first.wait_for()
    seen = {"title": page.title(), "operations": page.locator(".opblock").count()}

    page.locator(".btn.authorize").first.click()
    page.locator(".auth-container input").first.fill(token)
    page.locator(".auth-btn-wrapper .authorize").first.click()
    page.locator(".auth-btn-wrapper .btn-done").first.click()
    seen["status"], seen["body"] = call(page)
    page.screenshot(path=screenshot)
    seen["colours"] = colours(screenshot)

    page.reload()
    page.locator(".opblock").first.wait_for()
    seen["status_after_reload"], _ = call(page)
    browser.close()

seen["elsewhere"], seen["complaints"] = elsewhere, complaints
print(json.dumps(seen))
