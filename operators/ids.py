# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that operators and panels share, so that neither imports the other's classes."""

from typing import Final

GENERATE: Final = "wav2sem.generate_lipsync"
CANCEL: Final = "wav2sem.cancel_lipsync"
RETIME: Final = "wav2sem.retime"
REFRESH_MODELS: Final = "wav2sem.refresh_models"
GENERATE_ALL: Final = "wav2sem.generate_all"
QUEUE_ADD: Final = "wav2sem.queue_add"
QUEUE_ADD_SELECTED: Final = "wav2sem.queue_add_selected"
QUEUE_REMOVE: Final = "wav2sem.queue_remove"
QUEUE_MOVE: Final = "wav2sem.queue_move"
QUEUE_CLEAR: Final = "wav2sem.queue_clear"
DIAGNOSE: Final = "wav2sem.diagnose_mouth"
FIX: Final = "wav2sem.fix_mouth"
COPY_REPORT: Final = "wav2sem.copy_report"
EXPORT_HEAD: Final = "wav2sem.export_head"
REFINE_PRESET: Final = "wav2sem.refine_preset"
REFINE_RESET: Final = "wav2sem.refine_reset"
REFINE_HERE: Final = "wav2sem.refine_here"
OVERRIDE_MESH: Final = "wav2sem.override_mesh"
ADD_MUTE: Final = "wav2sem.add_mute"
REMOVE_MUTE: Final = "wav2sem.remove_mute"
DROP_EDITS: Final = "wav2sem.drop_edits"
MERGE_EDITS: Final = "wav2sem.merge_edits"

SETTINGS: Final = "wav2sem_lipsync"  # on Scene, saved with the file
JOB: Final = "wav2sem_job"  # on WindowManager, never saved and untouched by undo
MARK: Final = "wav2sem_lipsync"  # custom property of every Action that a bake made
WRITTEN: Final = "wav2sem_written"  # custom property of such an Action: its curves as they were generated
GUEST: Final = "wav2sem_guest"  # custom property of an Action of the user's: in which slot a bake is a guest
SLOT: Final = "wav2sem_slot"  # custom property of every such Action: in which slot its bake is
RAW: Final = "wav2sem_raw"  # custom property of such an Action: what the network said
OFFSET: Final = "wav2sem_offset"  # custom property of such an Action: by how many frames its words come later
MARKS: Final = (MARK, WRITTEN, GUEST, SLOT, RAW, OFFSET)  # all of them
PIECE: Final = "wav2sem_piece"  # custom property of a sound strip: which piece of a lip sync it is
QUEUE: Final = "wav2sem_queue"  # on Scene: which head says what
NOD: Final = "wav2sem_nod"  # custom property of an empty that nods, whose head it is, and of its Action
FACE: Final = "wav2sem_face"  # on Object: settings of one head

COMMAND: Final = "lipsync"  # blender --command lipsync
TRACK: Final = "Lip Sync"  # NLA track and animation group
