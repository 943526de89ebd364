/* SPDX-License-Identifier: MIT */
#include "serve/api_members.h"

#include <stdarg.h>
#include <stdio.h>

bool lx_members_refuse(const lx_members *members, const char *name, const char *format, ...)
{
    char reason[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    lx_api_fault *fault = members->fault;
    lx_api_fault_set(fault, 400, NULL, "'%s%s' %s", members->path, name, reason);
    snprintf(fault->param, sizeof(fault->param), "%s%s", members->path, name);
    return false;
}

const json_t *lx_members_get(const lx_members *members, const char *name)
{
    const json_t *value = json_object_get(members->object, name);
    return json_is_null(value) ? NULL : value;
}

bool lx_members_bool(const lx_members *members, const char *name, bool *value)
{
    const json_t *member = lx_members_get(members, name);
    if (!member)
        return true;
    if (!json_is_boolean(member))
        return lx_members_refuse(members, name, "must be true or false");
    *value = json_is_true(member);
    return true;
}

bool lx_members_u32(const lx_members *members, const char *name, uint32_t least, uint32_t most,
                    uint32_t *value)
{
    const json_t *member = lx_members_get(members, name);
    if (!member)
        return true;
    const json_int_t number = json_integer_value(member);
    if (!json_is_integer(member) || number < (json_int_t)least || number > (json_int_t)most)
        return lx_members_refuse(members, name, "must be a whole number from %u to %u", least,
                                 most);
    *value = (uint32_t)number;
    return true;
}

bool lx_members_float(const lx_members *members, const char *name, double least, double most,
                      float *value)
{
    const json_t *member = lx_members_get(members, name);
    if (!member)
        return true;
    const double number = json_number_value(member);
    if (!json_is_number(member) || !(number >= least && number <= most))
        return lx_members_refuse(members, name, "must be a number from %g to %g", least, most);
    *value = (float)number;
    return true;
}

bool lx_members_string(const lx_members *members, const char *name, const char **value)
{
    const json_t *member = lx_members_get(members, name);
    if (!member)
        return true;
    if (!json_is_string(member))
        return lx_members_refuse(members, name, "must be a string");
    *value = json_string_value(member);
    return true;
}
