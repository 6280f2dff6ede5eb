-- Health of the four custom resources of pgv2.percona.com for Argo CD; docs/howto/gitops.md shows how to install it.
-- Base and table functions only, so that it runs without resource.customizations.useOpenLibs.

local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}

-- A condition counts only if it is about the present spec.
local function condition(name)
  for _, found in ipairs(status.conditions or {}) do
    local observed = found.observedGeneration
    if found.type == name and (observed == nil or observed == obj.metadata.generation) then
      return found
    end
  end
  return {}
end

local function cluster()
  local ready, progressing, degraded = condition("Ready"), condition("Progressing"), condition("Degraded")
  if degraded.status == "True" then
    return health("Degraded", degraded.message)
  end
  -- spec.pause, spec.unmanaged, or backups that are disabled without the annotation.
  if progressing.status == "False" and progressing.reason == "Paused" then
    return health("Suspended", progressing.message)
  end
  if ready.status == "True" then
    return health("Healthy", ready.message)
  end
  return health("Progressing", progressing.message or "waiting for the operator to act on this generation")
end

-- PerconaPGBackup and PerconaPGRestore end once, with Succeeded or Failed.
local function job()
  if status.state == "Succeeded" then
    return health("Healthy", "succeeded")
  end
  if status.state == "Failed" then
    return health("Degraded", status.error or "failed")
  end
  local waiting, lease = condition("Waiting"), condition("BackupLeaseAcquired")
  local cause = waiting.message
  if lease.status == "False" then
    cause = lease.message
  end
  return health("Progressing", cause or status.message or status.phase or status.state or "waiting for the operator")
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "being deleted")
end
if obj.kind == "PerconaPGCluster" then
  return cluster()
end
if obj.kind == "PerconaPGBackup" or obj.kind == "PerconaPGRestore" then
  return job()
end
return health("Degraded", obj.kind .. " is not implemented in this version of the operator")
