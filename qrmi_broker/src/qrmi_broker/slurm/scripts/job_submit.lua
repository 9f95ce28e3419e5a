-- Slurm asks these two functions about every job that is submitted or changed. This file is the site's: add rules of
-- your own, before or after ours. Ours are in qrmi_job_submit.lua, which `qrmi slurm licenses` writes.
local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local qrmi = dofile(here .. "qrmi_job_submit.lua")

function slurm_job_submit(job, partitions, uid)
    return qrmi.submit(job, uid)
end

function slurm_job_modify(job, record, partitions, uid)
    return qrmi.modify(job, record, uid)
end

return slurm.SUCCESS
