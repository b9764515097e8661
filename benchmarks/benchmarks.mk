# Part of the Makefile above it, where this folder is.
.PHONY: bench bench-peers mutants seeds ablation faults fuzz bench-grading

bench: $(INSTALLED)  ## measure the speed of sampling and training
	$(PY) benchmarks/throughput.py

bench-peers: .venv-peers/.installed  ## compare with Stable-Baselines3, in an environment of its own
	.venv-peers/bin/python benchmarks/peers.py

seeds: $(INSTALLED)  ## train the runs that the README reports, in hours; started again, it goes on
	$(PY) main.py sweep cpg aac --seeds 100 --first-seed 1100 --evaluate 1000 --out results/part1_seeds.json
	$(PY) main.py sweep vpg epg bpg aac_long --seeds 20 --first-seed 1100 --evaluate 1000 --out results/part1_seeds.json

ablation: $(INSTALLED)  ## train the recipe with each of its pieces left out, in hours; started again, it goes on
	$(PY) benchmarks/ablation.py

faults: .venv/.atheris  ## kill, stop, starve and damage trainings, and count what is lost (SHARE=0.01 for a minute)
	$(PY) -m benchmarks.faults $(if $(SHARE),--share $(SHARE),--out results/faults.txt)

fuzz: .venv/.atheris  ## damage files of every kind by a fuzzer, and read them (FILES=100000)
	$(PY) -m benchmarks.fuzz_files $(FILES)

# There is none for every machine; then no files are fuzzed.
.venv/.atheris: $(INSTALLED)
	-$(PY) $(PIP_INSTALL) --no-deps 'atheris>=3,<4'
	touch $@

bench-grading: $(INSTALLED)  ## check 51 archives, count what is blamed, and time it
	$(PY) -m benchmarks.grading

mutants: $(INSTALLED)  ## put small mistakes into the assignment, and count those that the tests notice (SAMPLE=100 a module)
	$(PY) benchmarks/mutants.py $(if $(SAMPLE),--sample $(SAMPLE))

.venv-peers/.installed: requirements.lock
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock stable-baselines3==2.9.2
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
