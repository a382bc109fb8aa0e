// SPDX-License-Identifier: GPL-3.0-or-later
// Flamenco 3 job type: a batch of lip syncs, cut into ranges of jobs. Goes into the Manager's scripts folder.
// See docs/farm.md.

const JOB_TYPE = {
    label: "Wav2Sem Lip Sync",
    description: "Bake a list of speech files onto heads",
    settings: [
        { key: "job_list", type: "string", subtype: "file_path", required: true,
          description: "The list of jobs, .csv or .json; paths in it are relative to it" },
        { key: "count", type: "int32", required: true, description: "How many jobs the list has" },
        { key: "object", type: "string", default: "Head", description: "The head for jobs that name none" },
        { key: "output", type: "string", default: "{name}.lipsync.blend",
          description: "Naming rule for jobs that name no output, within the folder of reports; may end in .glb, .fbx" },
        { key: "reports", type: "string", subtype: "dir_path", required: true,
          description: "Where each range writes its report and its journal" },
        { key: "bake_script", type: "string", subtype: "file_path", required: true,
          description: "bake.py of the extension, as the workers see it" },
        { key: "per_task", type: "int32", default: 25, description: "Jobs in one task", visible: "submission" },
        { key: "workers", type: "int32", default: 1, description: "Processes on each host", visible: "submission" },
        { key: "blendfile", type: "string", required: true, visible: "web",
          description: "The .blend for jobs that name none" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    for (let first = 1; first <= settings.count; first += settings.per_task) {
        const range = `${first}-${Math.min(first + settings.per_task - 1, settings.count)}`;
        const task = author.Task(`lipsync-${range}`, "blender");
        task.addCommand(author.Command("exec", {
            exe: "{blender}",
            args: [
                "--background", "--factory-startup", "--python-exit-code", "1", "--python", settings.bake_script, "--",
                settings.blendfile, "--jobs", settings.job_list, "--only", range, "--object", settings.object,
                "--output", `${settings.reports}/${settings.output}`, "--workers", String(settings.workers),
                "--report", `${settings.reports}/lipsync.${range}.csv`, "--resume",
            ],
        }));
        job.addTask(task);
    }
}
