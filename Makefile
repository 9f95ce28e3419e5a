# A newcomer's two commands are `make demo` and `make test`. Everything else is in noxfile.py.
NOX = .venv/bin/nox
SLURM_PACKAGES = slurm-wlm libslurm-dev munge cmake gcc clang python3-venv

# As root this submits a real job to a Slurm in a temporary folder; elsewhere it runs on the embedded simulator.
demo: $(NOX)
	@test "$$(id -u)" != 0 || $(MAKE) --no-print-directory slurm || true
	$(NOX) -s demo

bench docs: $(NOX)
	$(NOX) -s $@

test: $(NOX)
	$(NOX) -s lint typecheck test
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory test-slurm; \
	else echo "left out: the tests on a real Slurm. Run them as root: make test-slurm"; test -z "$$QRMI_CI"; fi

test-slurm: $(NOX)
	@test "$$(id -u)" != 0 || $(MAKE) --no-print-directory slurm
	$(NOX) -s test_slurm

# A real Slurm, for tests and demo: they boot it in a temporary folder. Only root can install it.
slurm:
	@dpkg -s $(SLURM_PACKAGES) > /dev/null 2>&1 || \
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(SLURM_PACKAGES); }

# Debian keeps venv in a package of its own: install it where we may.
$(NOX): .ci/constraints.txt
	python3 -m venv .venv || { apt-get update && apt-get install -y python3-venv && python3 -m venv --clear .venv; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt nox uv
	touch $(NOX)

.PHONY: demo test test-slurm slurm bench docs
