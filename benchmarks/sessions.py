"""Twenty people at once: each uploads faces of its own and must get the answers for them; the memory beside it.

Every session is a page of a real Chromium on loopback. The answers are those of `read_face` for the same file, computed
here beforehand; any other answer ends the run.
"""

import argparse
import asyncio
import io
import time

import cv2
import numpy as np
from PIL import Image
from playwright.async_api import Page, async_playwright

from analyses.face import read_face
from benchmarks.serving import workbench
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.manifest import open_faces
from maskmtl.photo import find_faces, read_photo

TASKS = ("age", "gender", "ethnicity")


def photo(face: np.ndarray) -> bytes:
    """A JPEG with the face on a plain background."""
    canvas = np.full((700, 560, 3), (150, 160, 170), np.uint8)
    canvas[190:510, 120:440] = cv2.resize(face, (320, 320), interpolation=cv2.INTER_CUBIC)
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "JPEG", quality=95)
    return file.getvalue()


GROWTH = 0.1  # of the server's memory from the first 50 uploads to the last


def known_answers(n: int) -> list[tuple[bytes, dict[str, list[str]]]]:
    """Photos and what the page must show for each."""
    model, faces, found = load_model(DEFAULT_MODEL), open_faces("demo"), []
    for row in np.linspace(0, len(faces) - 1, 4 * n).astype(int):
        data = photo(faces.images[row])
        seen = find_faces(read_photo(data))
        if len(seen) == 1:
            reading = read_face(model, seen[0].crop, seen[0].points)
            found.append((data, {task: [reading.answer(task, mask) for mask in reading.masks] for task in TASKS}))
    return found


def memory(pid: int) -> float:
    """MB that a process holds."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))


async def upload(page: Page, data: bytes, expected: dict[str, list[str]]) -> float:
    """Seconds from the upload to the right answers on the page; AssertionError for others."""
    started = time.monotonic()
    await page.locator("input[type=file]").set_input_files(
        {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data}
    )
    script = """([tasks, expected]) => !document.querySelector('[data-test-script-state=running]') && tasks.every(
        (task, i) => JSON.stringify([...document.querySelectorAll(`.st-key-task_${task} dd`)].map(e => e.innerText))
          === JSON.stringify(expected[i]))"""
    try:
        await page.wait_for_function(script, arg=[list(TASKS), [expected[task] for task in TASKS]])
    except Exception:
        shown = {task: await page.locator(f".st-key-task_{task} dd").all_inner_texts() for task in TASKS}
        raise AssertionError(f"the page should show {expected}, it shows {shown}") from None
    return time.monotonic() - started


async def run(url: str, pid: int, sessions: int, uploads: int) -> None:
    answers, times, held = known_answers(sessions), [], {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        pages = []
        for _ in range(sessions):
            page = await (await browser.new_context(viewport={"width": 400, "height": 800})).new_page()
            page.set_default_timeout(300_000)
            await page.goto(f"{url}/face?face_check=False&face_source=Your+photo")
            await page.locator("input[type=file]").wait_for(state="attached")
            pages.append(page)

        async def person(i: int, page: Page) -> None:
            for k in range(uploads // sessions):
                times.append(await upload(page, *answers[(i + 7 * k) % len(answers)]))
                if len(times) % 50 == 0:
                    held[len(times)] = memory(pid)
                    print(f"{len(times)} uploads: {held[len(times)]:,.0f} MB", flush=True)

        started = time.monotonic()
        await asyncio.gather(*(person(i, page) for i, page in enumerate(pages)))
        spent = time.monotonic() - started
        await browser.close()
    print(f"{sessions} sessions, {len(times)} uploads in {spent:.0f} s, every answer that of its own face")
    print(f"upload to answer: median {np.median(times):.1f} s, 95 % within {np.quantile(times, 0.95):.1f} s")
    first, last = min(held, default=0), max(held, default=0)
    if first < last:
        growth = held[last] / held[first] - 1
        print(f"server: {growth:+.1%} from {first} to {last} uploads")
        if growth > GROWTH:
            raise SystemExit(f"the server's memory should grow by at most {GROWTH:.0%}, it grew by {growth:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--uploads", type=int, default=500)
    parser.add_argument("--port", type=int, default=8621)
    args = parser.parse_args()
    with workbench(args.port) as (url, pid):
        asyncio.run(run(url, pid, args.sessions, args.uploads))


if __name__ == "__main__":
    main()
