--
-- Turns --qpu into licences, so that a job waits for its lanes in the queue and not on a node. Slurm itself looks for
-- job_submit.lua, beside slurm.conf, which must say:
--
--     local qrmi = dofile("/etc/slurm/qrmi_job_submit.lua")
--     in slurm_job_submit(job, partitions, uid):          local status = qrmi.submit(job, uid)
--     in slurm_job_modify(job, record, partitions, uid):  local status = qrmi.modify(job, record, uid)
--     and in both:                                        if status ~= slurm.SUCCESS then return status end
--
-- Slurm reads job_submit.lua again when the time of that file changes, whatever happens to this one: touch it.

-- The resources of this site, and the lanes of each. 0: as many as one likes, so there is no licence.
local LANES = {
    -- @RESOURCES@
}
local UNKNOWN = "@UNKNOWN@" -- what becomes of a name that is not here, beside one that is: warn or refuse

local OPTION = "_SLURM_SPANK_OPTION_qrmi_qpu"
local REFUSED = slurm.ESLURM_INVALID_LICENSES or 2048
local DRAIN = "qrmi_drain:" -- qrmi_drain:<resource>:<reason> is a reservation of all its licences

-- One line for the user; 200 characters are enough for anybody's terminal.
local function tell(what, cause, remedy)
    local line = "qrmi: " .. what .. ": " .. cause .. ". " .. remedy
    if #line > 200 then
        line = line:sub(1, 197) .. "..."
    end
    slurm.log_user("%s", line)
end

local function quoted(text)
    text = text:gsub("[^\32-\126]", "?")
    if #text > 60 then
        text = text:sub(1, 57) .. "..."
    end
    return "'" .. text .. "'"
end

local function there_are()
    local names = {}
    for name in pairs(LANES) do
        names[#names + 1] = name
    end
    table.sort(names)
    if #names == 0 then
        return "There are none"
    end
    return "There are: " .. table.concat(names, ", ")
end

local function is_name(text)
    return text:match("^[A-Za-z0-9_][A-Za-z0-9_.-]*$") ~= nil and #text <= 128
end

-- The items of a list, also the empty ones, which string.gmatch would leave out in some versions of Lua.
local function items(text, separators)
    local found = {}
    for item in (text .. separators:sub(1, 1)):gmatch("([^" .. separators .. "]*)[" .. separators .. "]") do
        found[#found + 1] = item
    end
    return found
end

-- --qpu, as the user gave it, also through SLURM_SPANK__SLURM_SPANK_OPTION_qrmi_qpu; nil without it.
local function option(job)
    local found
    for _, pair in pairs(job.spank_job_env or {}) do
        local name, value = tostring(pair):match("^([^=]*)=(.*)$")
        if name == OPTION then
            found = value
        end
    end
    return found
end

-- What the batch script's environment says to the node. sbatch puts the option there; a user may put another one there,
-- which neither we nor the scheduler have counted. srun and salloc send no environment: there `grant: licences` helps.
local function said_to_node(job)
    if job.script == nil then -- no batch job: Slurm would log an error for each
        return nil
    end
    return job.environment and job.environment[OPTION]
end

-- [alias=]name[:exclusive] -> alias or nil, name, mode or nil; nil if it is none.
local function split(item)
    local alias, rest = item:match("^([^=]*)=(.*)$")
    rest = rest or item
    local name, mode = rest:match("^([^:]*):(.*)$")
    name = name or rest
    if is_name(name) and (not alias or is_name(alias)) then
        return name, alias, mode
    end
end

-- [alias=]name[:exclusive],... -> the items that we have, and the names that we lack; or nil after a message.
local function parse(text)
    local known, unknown, seen, called = {}, {}, {}, {}
    for _, item in ipairs(items(text, ",")) do
        local name, alias, mode = split(item)
        if not name then
            return tell("--qpu", quoted(item) .. " is no [alias=]name[:exclusive]", there_are())
        end
        if mode and mode ~= "exclusive" then
            local remedy = "Write " .. name .. " or " .. name .. ":exclusive"
            return tell(name, quoted(mode) .. " cannot stand after its name", remedy)
        end
        if seen[name] then
            return tell(name, "--qpu lists it twice", "List each resource once")
        end
        local variable = (alias or name):gsub("[^A-Za-z0-9_]", "_")
        if called[variable] then
            return tell(name, "its variables would be called as those of " .. called[variable], "Give it another alias")
        end
        seen[name], called[variable] = true, name
        if LANES[name] then
            known[#known + 1] = { name = name, is_exclusive = mode ~= nil }
        else
            unknown[#unknown + 1] = name
        end
    end
    return known, unknown
end

-- The licences of a list, each with its count; -1 where that is no number.
local function counts(text)
    local found = {}
    for _, item in ipairs(items(text or "", ",;|")) do
        item = item:gsub("%s", "")
        local name, count = item:match("^([^:]*):(.*)$")
        name = name or item
        local number = count == nil and 1 or count:match("^%d+$") and tonumber(count)
        found[name] = number and found[name] ~= -1 and (found[name] or 0) + number or -1
    end
    return found
end

-- A lane without --qpu would be held and not be used; with it, it would be counted twice.
local function own_lanes(job)
    for name in pairs(counts(job.licenses)) do
        if (LANES[name] or 0) > 0 then
            return name
        end
    end
end

local function tell_of_drain(name)
    local start = DRAIN .. name .. ":"
    for reservation in pairs(slurm.reservations or {}) do
        reservation = tostring(reservation)
        if reservation:sub(1, #start) == start then
            local reason = reservation:sub(#start + 1):gsub("_", " ")
            tell(name, "drained: " .. reason, "The job waits in the queue until it is resumed")
        end
    end
end

-- The components of a heterogeneous job come one after the other, in one request, and --qpu of the first is seen in all
-- that have none of their own. The first one leases for all; another --qpu would be obeyed by nobody.
local leader = {}

local function is_component(job)
    local number = job.het_job_offset
    return type(number) == "number" and number < 4096 and number or nil
end

local qrmi = {}

-- Whether the job may be submitted, as far as others than --qpu itself decide; false after a message.
local function may_be(job, uid, text)
    local said, lane, component = said_to_node(job), own_lanes(job), is_component(job)
    if said and said ~= text then
        tell(OPTION, "is set in the environment of this job", "Unset it, and say what you want with --qpu")
        return false
    end
    if lane then
        tell(lane, "-L asks for its lanes", "Take it out of -L: --qpu=" .. lane .. " brings the licence with it")
        return false
    end
    if component == 0 then
        leader[uid] = text
    elseif component and text and text ~= leader[uid] then
        local cause = "stands in a later component of a heterogeneous job"
        tell("--qpu", cause, "Give it to the first one, which leases for all")
        return false
    end
    return true
end

function qrmi.submit(job, uid)
    local text = option(job)
    if not may_be(job, uid, text) then
        return REFUSED
    end
    if not text or (is_component(job) or 0) > 0 then
        return slurm.SUCCESS
    end
    local known, unknown = parse(text)
    if not known then
        return REFUSED
    end
    if #unknown > 0 and (UNKNOWN == "refuse" or #known == 0) then
        tell(quoted(unknown[1]), "there is no such resource", there_are())
        return REFUSED
    end
    for _, name in ipairs(unknown) do
        tell(quoted(name), "there is no such resource; the job goes on without it", there_are())
    end
    local licences = {}
    for _, one in ipairs(known) do
        if LANES[one.name] > 0 then
            licences[#licences + 1] = one.name .. ":" .. (one.is_exclusive and LANES[one.name] or 1)
            tell_of_drain(one.name)
        end
    end
    if #licences > 0 and job.licenses and job.licenses ~= "" then
        if job.licenses:find("|", 1, true) then
            tell("-L " .. quoted(job.licenses), "'|' cannot stand beside --qpu", "Name the licences with ','")
            return REFUSED
        end
        licences[#licences + 1] = job.licenses
    end
    if #licences > 0 then
        job.licenses = table.concat(licences, ",")
    end
    return slurm.SUCCESS
end

-- What --qpu brought must stay: else a user would hold a lane that others are given too. Only root may change it.
function qrmi.modify(job, record, uid)
    if uid == 0 or job.licenses == nil then
        return slurm.SUCCESS
    end
    local before, after = counts(record.licenses), counts(job.licenses)
    for name, lanes in pairs(LANES) do
        if lanes > 0 and before[name] ~= after[name] then
            tell(name, "its licence belongs to --qpu and stays as it is", "Cancel the job, and submit it anew")
            return REFUSED
        end
    end
    return slurm.SUCCESS
end

return qrmi
