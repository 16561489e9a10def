# What people and CI run. Every target first sees to what it needs (tools/setup), which is quick the second time.
# ARGS goes to the command: make test ARGS="-k diff", make demo ARGS="--nodes 3 --keep".

.PHONY: help demo test check bench cluster bench-cluster fuzz matrix sbom krew reference messages upgrade clean
SHELL := /bin/bash
ARGS ?=
python := .venv/bin/python

help:
	@echo 'make demo       two nodes, three pods, a VM, one LAN: built, drawn, and every kind of frame sent through it'
	@echo 'make test       the tests; those that need root are skipped without it, and say so'
	@echo 'make check      format, lint, types, layers, C, generated files, packages: what CI checks'
	@echo 'make bench      the benchmarks, as root'
	@echo 'make cluster    a real two-node Kubernetes on this machine with k8slan in it, as root; ARGS=down ends it'
	@echo '                ARGS="up --kubevirt": with KubeVirt, for VMs'
	@echo 'make bench-cluster  the benchmarks in such a cluster'
	@echo 'make fuzz       the long fuzz runs'
	@echo 'make matrix     some cluster tests on other versions of Kubernetes and multus: docs/compatibility.md'
	@echo 'make sbom       what k8slan is made of, as CycloneDX, into dist'
	@echo 'make krew       the plugin of kubectl for krew, archive and manifest, into dist; ARGS=URL is where it will lie'
	@echo 'make reference  write docs/reference-cli.md anew'
	@echo 'make messages   write the messages of the device plugin API anew, from their .proto'
	@echo 'make upgrade    take the newest versions of the Python packages, and write down which'
	@echo 'make clean      remove everything that was made in this checkout'

demo:
	@tools/setup demo
	@.venv/bin/k8slan demo $(ARGS)

test:
	@tools/setup test
	@$(python) -m pytest $(ARGS)

check:
	@tools/setup check
	@$(python) tools/check $(ARGS)

bench:
	@tools/setup bench
	@$(python) -m tests.bench $(ARGS)

cluster:
	@tools/setup cluster
	@$(python) -m tests.cluster $(or $(ARGS),up)

bench-cluster:
	@tools/setup bench-cluster
	@$(python) -m tests.bench cluster $(ARGS)

fuzz:
	@tools/setup fuzz
	@$(MAKE) -C tests/fuzz/forwarder long
	@HYPOTHESIS_PROFILE=long $(python) -m pytest tests/fuzz $(ARGS)

matrix:
	@tools/setup cluster
	@$(python) -m tests.cluster.matrix $(ARGS)

sbom:
	@tools/setup check
	@$(python) tools/sbom

krew:
	@tools/setup check
	@$(python) tools/krew $(ARGS)

reference:
	@tools/setup check
	@$(python) tools/reference-cli

messages:
	@tools/setup check
	@$(python) tools/messages

upgrade:
	rm -rf .venv
	NEWEST=1 tools/setup test
	$(python) -m pip freeze --exclude-editable >tools/constraints.txt

clean:
	rm -rf .venv dist cni_plugins/build tests/fuzz/forwarder/build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
