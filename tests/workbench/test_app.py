"""What every page begins with."""

import subprocess
import sys

from maskmtl.paths import ROOT

WITHOUT_TORCH = """
import sys
from streamlit.testing.v1 import AppTest

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError("torch is asked for")

sys.meta_path.insert(0, NoTorch())
at = AppTest.from_file("workbench/app.py", default_timeout=120).run()
assert "torch is asked for" in at.exception[0].message, at.exception
print(at.title[0].value, *(html.proto.body for html in at.get("html")))
"""


def test_title_and_notice_come_before_what_takes_long_to_load():
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "What does this face model see" in done.stdout and "never for deciding about a person" in done.stdout


def test_a_page_has_its_name_as_title(app):
    for view, title in (("overview", "What does this face model see, "), ("face", "Face"), ("about", "Limits of use")):
        at = app.switch_page(f"views/{view}.py").run()
        assert not at.exception and len(at.title) == 1 and at.title[0].value.startswith(title)
