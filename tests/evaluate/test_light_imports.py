import subprocess
import sys


def test_worker_processes_import_only_what_they_need():
    script = "import sys, autocompress.data, autocompress.evaluate; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"optuna", "sklearn", "pandas", "torch", "pydantic", "sqlalchemy", "scipy", "PIL", "yaml", "matplotlib"}
    assert not heavy & set(loaded)
