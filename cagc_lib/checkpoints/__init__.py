"""Chapter 13: every file that is read or written, and nothing that a file could run.

Networks in three formats, ours and those of others (formats/); the shipped artefacts and their
manifest; downloads of published models; the small networks by name; whole files or none.
"""

from .artefacts import (
    artefact_path, data_dir, manifest, model_path, named_models, new_artefact_path,
    write_manifest_entry,
)
from .checkpoint import (
    Checkpoint, check_target, generator_names, load_checkpoint, load_generator, save_checkpoint,
    save_generator,
)
from .files import atomic_write, file_sha256, needing, reason_of, remove_temporaries, writing
from .formats.native import load_network, save_network
from .formats.pickle_machine import Budget, Machine
from .formats.pickle_reader import module_tensors, read_nvidia_pickle, rebuild_tensor
from .formats.torch_files import load_tensors, load_training_state, save_training_state
from .pretrained import (
    load_autoencoder, load_classifier, load_features, load_parser, load_standard_features,
)
