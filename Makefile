# make book   set up, run chapter 1, build the pages
# make test   set up, run the tests, re-run every notebook and compare
# make lab    set up, open the notebooks
# make test-gpu   the Triton kernels' tests on an NVIDIA GPU
# make lint   check style
# make artefacts   make everything in data/ again: networks and tables
# make networks    train those in data/ again: about two days on one core; goes on where it stopped;
#                  the last ones want cifar10/ here, which torchvision, once installed, downloads
# make tables      measure the tables in data/ again, for which two more days of students are trained;
#                  what was measured on the same networks stays

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# One thread a process: the networks here are small, and beside other work two threads wait for each
# other longer than they compute.
export OMP_NUM_THREADS ?= 1

.PHONY: book test test-gpu lab lint artefacts networks networks-portraits networks-cifar10 tables
.DEFAULT_GOAL := book

book: $(READY)
	@echo "Running chapter 1 ..."
	@$(BIN)/python book/_tools/execute.py 01 --out _build/executed
	@echo "Building the book ..."
	@$(BIN)/jupyter-book build . --all -W -n --keep-going --quiet
	@echo
	@echo "The book is ready. Open $(CURDIR)/_build/html/index.html"

# Both runs happen even if the first one fails. In the second, notebooks run with every connection
# other than to this machine refused (tests/book/no_network).
test: $(READY)
	@status=0; \
	$(BIN)/python -m pytest -n auto --dist loadgroup || status=1; \
	PYTHONPATH="$(CURDIR)/tests/book/no_network" $(BIN)/python -m pytest -n auto --dist loadfile \
		--nbval --nbval-current-env --nbval-cell-timeout 900 book || status=1; \
	exit $$status

test-gpu: $(READY)
	$(BIN)/python -m pytest tests/ops

lab: $(READY)
	$(BIN)/jupyter lab --notebook-dir book $(if $(filter 0,$(shell id -u)),--allow-root)

lint: $(READY)
	$(BIN)/ruff check .

artefacts: networks
	$(MAKE) tables

# The commands of data/manifest.json, in the order in which one needs the other.
networks: networks-portraits networks-cifar10

networks-portraits: $(READY)
	$(BIN)/python -m cagc_lib train features --register portraits-perceptual
	$(BIN)/python -m cagc_lib train features --seed 1 --register portraits-features
	$(BIN)/python -m cagc_lib train autoencoder --register portraits-autoencoder
	$(BIN)/python -m cagc_lib train parser --steps 10000 --register portraits-parser
	$(BIN)/python -m cagc_lib train teacher --w-dim 256 --warm-start 34000 --images 320000 \
		--set warm_start_coarse=24000 --set warm_start_lr=0.012 --set warm_start_mapping_lr=2 \
		--set warm_start_background=0.5 --set anchor=2 --set anchor_images=300000 \
		--set average_half_life=20000 --set average_rampup=0.1 --set r1_gamma=1 \
		--set path_interval=16 --set style_mixing=0.5 --set pool=60000 --set checkpoint_every=500 \
		--set sample_every=2000 --out runs/teacher --resume --register portraits
	$(call student,0.7,240000,portraits-11x)
	$(call student,0.3,40000,portraits-2x)
	$(call student,0.5,40000,portraits-4x)
	$(call student,0.8,40000,portraits-24x)
	$(call student,0.9,40000,portraits-89x)

networks-cifar10: $(READY) | cifar10
	$(BIN)/python -m cagc_lib train classifier --data cifar10/train --test cifar10/test \
		--steps 8000 --register cifar10-perceptual
	$(BIN)/python -m cagc_lib train classifier --data cifar10/train --test cifar10/test \
		--steps 8000 --seed 1 --register cifar10-classifier
	$(BIN)/python -m cagc_lib train teacher --network sngan --data cifar10/train \
		--images 800000 --set d_steps=2 --set d_lr=0.0004 --set flip=true \
		--set average_half_life=30000 --set checkpoint_every=250 --set sample_every=500 \
		--out runs/sngan --resume --register cifar10-sngan
	$(call cifar10-student,random,5)
	$(call cifar10-student,l1-out,5)
	$(call cifar10-student,slimming,5,$(SPARSE))
	$(call cifar10-student,content-aware,5)
	$(call cifar10-student,random,7)
	$(call cifar10-student,l1-out,7)
	$(call cifar10-student,slimming,7,$(SPARSE))
	$(call cifar10-student,content-aware,7)

# 60,000 photographs as files. The folder has its name only once it is whole. What ships was trained
# on JPEG copies of them (data/cifar10/SOURCE.md).
cifar10: | $(READY)
	$(BIN)/python -c 'from cagc_lib.datasets import fetch_cifar10; fetch_cifar10("cifar10.part")'
	mv cifar10.part cifar10

# $(call student,RATIO,IMAGES,NAME): the shipped student of the portraits with that ratio.
define student
$(BIN)/python -m cagc_lib compress portraits --ratio $(1) --content portraits \
	--rgb-gain preserved --distil-images $(2) --set pool=20000 --set r1_gamma=1 \
	--set path_weight=0 --set average_rampup=0.2 --set checkpoint_every=500 --run runs/$(3) \
	--resume --register $(3) --out runs/$(3).safetensors
endef

# $(call cifar10-student,METHOD,TENTHS,OPTIONS): the shipped student of SN-GAN with those channels.
# Slimming's sparse training comes on top of what all have.
SPARSE := --sparse-images 20000 --sparsity 0.005
define cifar10-student
$(BIN)/python -m cagc_lib compress cifar10-sngan --ratio 0.$(2) --method $(1) \
	--content class-activation --data cifar10/train --distil-images 32000 $(3) \
	--set d_steps=1 --set d_lr=0.0004 --set flip=true --set average_half_life=5000 \
	--set average_rampup=0.2 --set checkpoint_every=250 --run runs/cifar10-$(1)-$(2)0 \
	--resume --register cifar10-$(1)-$(2)0 --out runs/cifar10-$(1)-$(2)0.safetensors
endef

# The teacher's curve has more points if its first line runs beside the teacher's training, with
# --every 600. Latencies want a machine that does nothing else.
tables: $(READY) | cifar10
	$(BIN)/python benchmarks/teacher.py curve runs/teacher
	$(BIN)/python benchmarks/teacher.py judge --projected 16 --steps 150
	$(BIN)/python benchmarks/gradient_lengths.py
	$(BIN)/python -m cagc_lib sweep data/scoreboard.toml
	$(BIN)/python -m cagc_lib sweep data/scoreboard.toml --latencies
	$(BIN)/python benchmarks/draws.py
	$(BIN)/python benchmarks/sample_size.py
	$(BIN)/python benchmarks/latent_space.py
	$(BIN)/python benchmarks/cifar10.py

# The stamp makes every later run start at once; a changed requirements.txt installs again. Debian's
# Python has no pip for a new environment without python3-venv; install_pip.py then fetches it.
$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Python 3.11 to 3.13 is needed; try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || \
		{ $(PYTHON) -c 'import ensurepip' 2>/dev/null && $(PYTHON) -m venv .venv; } || \
		{ $(PYTHON) -m venv --without-pip .venv && $(PYTHON) book/_tools/install_pip.py .venv; } || \
		{ echo "Python cannot create .venv here; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing the requirements into .venv: 3 GB or more, some minutes ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
