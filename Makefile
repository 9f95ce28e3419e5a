# A newcomer's two commands are `make demo` and `make test`. Everything else is in noxfile.py.
NOX = .venv/bin/nox
SLURM_PACKAGES = slurm-wlm libslurm-dev munge cmake gcc

demo bench docs: $(NOX)
	$(NOX) -s $@

test: $(NOX)
	$(NOX) -s lint typecheck test
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory test-slurm; \
	else echo "left out: the tests on a real Slurm. Run them as root: make test-slurm"; test -z "$$QRMI_CI"; fi

# A real Slurm in a temporary folder. Where we are root, what it needs is installed.
test-slurm: $(NOX)
	@test "$$(id -u)" != 0 || dpkg -s $(SLURM_PACKAGES) > /dev/null 2>&1 || \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(SLURM_PACKAGES); }
	$(NOX) -s test_slurm

# Debian keeps venv in a package of its own: install it where we may.
$(NOX): .ci/constraints.txt
	python3 -m venv .venv || { apt-get update && apt-get install -y python3-venv && python3 -m venv --clear .venv; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt nox uv
	touch $(NOX)

.PHONY: demo test test-slurm bench docs
