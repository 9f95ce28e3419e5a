# A newcomer's two commands are `make demo` and `make test`. Everything else is in noxfile.py.
NOX = .venv/bin/nox

demo bench docs: $(NOX)
	$(NOX) -s $@

test: $(NOX)
	$(NOX) -s lint typecheck test

# Debian keeps venv in a package of its own: install it where we may.
$(NOX): .ci/constraints.txt
	python3 -m venv .venv || { apt-get update && apt-get install -y python3-venv && python3 -m venv --clear .venv; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt nox uv
	touch $(NOX)

.PHONY: demo test bench docs
