/* SPDX-License-Identifier: MIT */
#include "serve/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lynx/engine.h"

enum { NESTING_MAX = 32, REFERENCES_MAX = 64, PATH_BYTES = 128, REPEATS_MAX = 1000 };

/* What every grammar of ours has. Numbers have so many digits as a double tells apart. White
 * space is bounded, for a model may like it too much. */
static const char common[] =
    "ws ::= [ \\t\\n]{0,32}\n"
    "char ::= [^\"\\\\\\x00-\\x1F\\x7F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" escape)\n"
    "escape ::= [0-9a-cA-Ce-fE-F] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}\n"
    "string ::= \"\\\"\" char* \"\\\"\"\n"
    "integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15})\n"
    "number ::= integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?\n"
    "boolean ::= \"true\" | \"false\"\n"
    "null ::= \"null\"\n"
    "value ::= object | array | string | number | boolean | null\n"
    "member ::= string ws \":\" ws value ws\n"
    "object ::= \"{\" ws (member (\",\" ws member)*)? \"}\"\n"
    "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n";

void lx_schema_any_object(lx_buffer *grammar)
{
    lx_buffer_puts(grammar, "root ::= object\n");
    lx_buffer_puts(grammar, common);
}

typedef struct converter {
    const json_t *root;
    lx_buffer *out; /* whole rules */
    char *reason;
    bool has_failed;
    uint32_t rules; /* that were named */
    uint32_t nesting;
    const json_t *references[REFERENCES_MAX]; /* schemas that are rules "ref-N" */
    uint32_t reference_count;
    char path[PATH_BYTES]; /* of the schema in work */
} converter;

/* Append to 'rule' a piece of grammar for a schema. */
static bool put_schema(converter *c, lx_buffer *rule, const json_t *schema);

static bool fail(converter *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(converter *c, const char *format, ...)
{
    char words[LX_SCHEMA_REASON_BYTES - PATH_BYTES - 16];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    if (!c->has_failed)
        snprintf(c->reason, LX_SCHEMA_REASON_BYTES, "%s: %s", c->path[0] ? c->path : "schema",
                 words);
    c->has_failed = true;
    return false;
}

static bool put_below(converter *c, lx_buffer *rule, const char *name, const json_t *schema)
{
    const size_t end = strlen(c->path);
    snprintf(c->path + end, sizeof(c->path) - end, "/%.40s", name);
    const bool is_good = put_schema(c, rule, schema);
    c->path[end] = '\0';
    return is_good;
}

/* End a rule that was written into 'rule', under a new name. */
static uint32_t add_rule(converter *c, const char *prefix, uint32_t number, lx_buffer *rule)
{
    lx_buffer_format(c->out, "%s-%u ::= ", prefix, number);
    if (rule->data)
        lx_buffer_put(c->out, rule->data, rule->size);
    lx_buffer_puts(c->out, "\n");
    c->out->has_failed |= rule->has_failed;
    lx_buffer_fini(rule);
    return number;
}

/* ---- values that are given ----------------------------------------------------------- */

/* The JSON text of a value as a literal. */
static bool put_literal(lx_buffer *rule, const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    lx_buffer_puts(rule, "\"");
    for (const char *at = text; at && *at; at++) {
        if (*at == '"' || *at == '\\')
            lx_buffer_puts(rule, "\\");
        lx_buffer_put(rule, at, 1);
    }
    lx_buffer_puts(rule, "\" ");
    rule->has_failed |= !text;
    free(text);
    return true;
}

static bool put_enum(converter *c, lx_buffer *rule, const json_t *values)
{
    if (!json_is_array(values) || json_array_size(values) == 0)
        return fail(c, "'enum' must be an array of values");
    lx_buffer_puts(rule, "(");
    for (size_t i = 0; i < json_array_size(values); i++) {
        lx_buffer_puts(rule, i ? "| " : "");
        (void)put_literal(rule, json_array_get(values, i));
    }
    lx_buffer_puts(rule, ") ");
    return true;
}

/* ---- bounds -------------------------------------------------------------------------- */

/* '*value' stays as it is when the member is absent. */
static bool take_bound(converter *c, const json_t *schema, const char *name, uint32_t *value)
{
    const json_t *member = json_object_get(schema, name);
    if (!member)
        return true;
    const json_int_t number = json_integer_value(member);
    if (!json_is_integer(member) || number < 0 || number > REPEATS_MAX)
        return fail(c, "'%s' must be a whole number up to %d", name, REPEATS_MAX);
    *value = (uint32_t)number;
    return true;
}

/* "{m,n}" of two members; UINT32_MAX: there is no bound. */
static bool take_bounds(converter *c, const json_t *schema, const char *least_name,
                        const char *most_name, uint32_t *least, uint32_t *most)
{
    *least = 0;
    *most = UINT32_MAX;
    if (!take_bound(c, schema, least_name, least) || !take_bound(c, schema, most_name, most))
        return false;
    return *least <= *most || fail(c, "'%s' is above '%s'", least_name, most_name);
}

static void put_bounds(lx_buffer *rule, uint32_t least, uint32_t most)
{
    if (most == UINT32_MAX)
        lx_buffer_format(rule, "{%u,} ", least);
    else
        lx_buffer_format(rule, "{%u,%u} ", least, most);
}

/* ---- strings, arrays, objects -------------------------------------------------------- */

static bool put_string(converter *c, lx_buffer *rule, const json_t *schema)
{
    uint32_t least, most;
    if (!take_bounds(c, schema, "minLength", "maxLength", &least, &most))
        return false;
    lx_buffer_puts(rule, "\"\\\"\" char");
    put_bounds(rule, least, most);
    lx_buffer_puts(rule, "\"\\\"\" ");
    return true;
}

static bool put_array(converter *c, lx_buffer *rule, const json_t *schema)
{
    const json_t *items = json_object_get(schema, "items");
    lx_buffer item = {0};
    uint32_t least, most;
    if (!take_bounds(c, schema, "minItems", "maxItems", &least, &most))
        return false;
    if (most == 0) {
        lx_buffer_puts(rule, "\"[\" ws \"]\" ");
        return true;
    }
    if (!items)
        lx_buffer_puts(&item, "value ");
    else if (!put_below(c, &item, "items", items)) {
        lx_buffer_fini(&item);
        return false;
    }
    const uint32_t number = add_rule(c, "item", c->rules++, &item);
    lx_buffer_format(rule, "\"[\" ws (item-%u ws (\",\" ws item-%u ws)", number, number);
    put_bounds(rule, least ? least - 1 : 0, most == UINT32_MAX ? most : most - 1);
    lx_buffer_puts(rule, least ? ") \"]\" " : ")? \"]\" ");
    return true;
}

static bool is_required(const json_t *schema, const char *name)
{
    const json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *entry = json_array_get(required, i);
        if (json_is_string(entry) && strcmp(json_string_value(entry), name) == 0)
            return true;
    }
    return false;
}

/* "name": value, as a rule "pair-N"; all of them of one object are numbered in a row. */
static bool add_pair(converter *c, uint32_t number, const char *name, const json_t *schema)
{
    lx_buffer rule = {0};
    json_t *key = json_string(name);
    (void)put_literal(&rule, key);
    json_decref(key);
    lx_buffer_puts(&rule, "ws \":\" ws ");
    if (!put_below(c, &rule, name, schema)) {
        lx_buffer_fini(&rule);
        return false;
    }
    lx_buffer_puts(&rule, "ws");
    (void)add_rule(c, "pair", number, &rule);
    return true;
}

/* What follows property 'number' when one stands before it: rules "rest-N", of which the last
 * is empty. */
static void add_rest(converter *c, uint32_t number, bool is_needed)
{
    lx_buffer rule = {0};
    lx_buffer_format(&rule, "(\",\" ws pair-%u)%s rest-%u", number, is_needed ? "" : "?",
                     number + 1);
    (void)add_rule(c, "rest", number, &rule);
}

/* The properties in their order, of which the first that is there has no comma before it. */
static bool put_properties(converter *c, lx_buffer *rule, const json_t *schema,
                           json_t *properties)
{
    const uint32_t first = c->rules;
    uint32_t number = first;
    bool has_needed = false;
    c->rules += (uint32_t)json_object_size(properties) + 1;
    lx_buffer_puts(rule, "\"{\" ws (");
    for (void *at = json_object_iter(properties); at;
         at = json_object_iter_next(properties, at)) {
        const char *name = json_object_iter_key(at);
        const bool is_needed = is_required(schema, name);
        if (!add_pair(c, number, name, json_object_iter_value(at)))
            return false;
        add_rest(c, number, is_needed);
        if (!has_needed)
            lx_buffer_format(rule, "%spair-%u rest-%u ", number > first ? "| " : "", number,
                             number + 1);
        has_needed |= is_needed;
        number++;
    }
    lx_buffer empty = {0};
    lx_buffer_puts(&empty, "\"\"");
    (void)add_rule(c, "rest", number, &empty);
    lx_buffer_puts(rule, has_needed ? ") \"}\" " : ")? \"}\" ");
    return true;
}

/* Every required name must be a property: without, the object could not be. */
static bool check_required(converter *c, const json_t *schema, const json_t *properties)
{
    const json_t *required = json_object_get(schema, "required");
    if (required && !json_is_array(required))
        return fail(c, "'required' must be an array of names");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *name = json_array_get(required, i);
        if (!json_is_string(name))
            return fail(c, "'required' must be an array of names");
        if (!json_object_get(properties, json_string_value(name)))
            return fail(c, "'%.40s' is required and no property", json_string_value(name));
    }
    return true;
}

static bool put_object(converter *c, lx_buffer *rule, const json_t *schema)
{
    json_t *properties = json_object_get(schema, "properties");
    const json_t *more = json_object_get(schema, "additionalProperties");
    if (properties && !json_is_object(properties))
        return fail(c, "'properties' must be an object");
    if (!check_required(c, schema, properties))
        return false;
    if (json_object_size(properties) > 0)
        return put_properties(c, rule, schema, properties);
    if (!more || json_is_true(more)) {
        lx_buffer_puts(rule, "object ");
        return true;
    }
    if (json_is_false(more)) {
        lx_buffer_puts(rule, "\"{\" ws \"}\" ");
        return true;
    }
    lx_buffer value = {0};
    if (!put_below(c, &value, "additionalProperties", more)) {
        lx_buffer_fini(&value);
        return false;
    }
    const uint32_t number = add_rule(c, "item", c->rules++, &value);
    lx_buffer_format(rule,
                     "\"{\" ws (string ws \":\" ws item-%u ws (\",\" ws string ws \":\" ws "
                     "item-%u ws)*)? \"}\" ",
                     number, number);
    return true;
}

/* ---- a schema ------------------------------------------------------------------------ */

static bool put_type(converter *c, lx_buffer *rule, const json_t *schema, const char *type)
{
    static const char *const simple[] = {"integer", "number", "boolean", "null"};
    for (size_t i = 0; i < sizeof(simple) / sizeof(*simple); i++)
        if (strcmp(type, simple[i]) == 0) {
            lx_buffer_format(rule, "%s ", type);
            return true;
        }
    if (strcmp(type, "string") == 0)
        return put_string(c, rule, schema);
    if (strcmp(type, "array") == 0)
        return put_array(c, rule, schema);
    if (strcmp(type, "object") == 0)
        return put_object(c, rule, schema);
    return fail(c, "'%.40s' is no type", type);
}

static bool put_types(converter *c, lx_buffer *rule, const json_t *schema, const json_t *types)
{
    lx_buffer_puts(rule, "(");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *type = json_array_get(types, i);
        lx_buffer_puts(rule, i ? "| " : "");
        if (!json_is_string(type))
            return fail(c, "'type' must be a name or an array of names");
        if (!put_type(c, rule, schema, json_string_value(type)))
            return false;
    }
    lx_buffer_puts(rule, ") ");
    return json_array_size(types) > 0 || fail(c, "'type' is empty");
}

static bool put_any_of(converter *c, lx_buffer *rule, const json_t *schemas, const char *name)
{
    if (!json_is_array(schemas) || json_array_size(schemas) == 0)
        return fail(c, "'%s' must be an array of schemas", name);
    lx_buffer_puts(rule, "(");
    for (size_t i = 0; i < json_array_size(schemas); i++) {
        lx_buffer_puts(rule, i ? "| " : "");
        if (!put_below(c, rule, name, json_array_get(schemas, i)))
            return false;
    }
    lx_buffer_puts(rule, ") ");
    return true;
}

/* "#", or "#/$defs/NAME" and "#/definitions/NAME". */
static const json_t *find_reference(const converter *c, const char *where)
{
    static const char *const places[] = {"$defs", "definitions"};
    if (strcmp(where, "#") == 0)
        return c->root;
    for (size_t i = 0; i < 2; i++) {
        const size_t size = strlen(places[i]);
        if (strncmp(where, "#/", 2) == 0 && strncmp(where + 2, places[i], size) == 0 &&
            where[2 + size] == '/')
            return json_object_get(json_object_get(c->root, places[i]), where + 3 + size);
    }
    return NULL;
}

/* A schema that may name itself is a rule, which is written when all others are. */
static bool put_reference(converter *c, lx_buffer *rule, const json_t *reference)
{
    const json_t *schema =
        json_is_string(reference) ? find_reference(c, json_string_value(reference)) : NULL;
    if (!schema)
        return fail(c, "'$ref' must be \"#\" or \"#/$defs/NAME\" of this schema");
    uint32_t number = 0;
    while (number < c->reference_count && c->references[number] != schema)
        number++;
    if (number == REFERENCES_MAX)
        return fail(c, "there are more than %d references", REFERENCES_MAX);
    if (number == c->reference_count)
        c->references[c->reference_count++] = schema;
    lx_buffer_format(rule, "ref-%u ", number);
    return true;
}

/* Keywords that bound what is allowed and are not known here would be broken in silence. */
static bool check_keywords(converter *c, json_t *schema)
{
    static const char *const known[] = {
        "type",      "properties",  "required",       "additionalProperties",
        "items",     "minItems",    "maxItems",       "minLength",
        "maxLength", "enum",        "const",          "anyOf",
        "oneOf",     "$ref",        "$defs",          "definitions",
        "title",     "description", "default",        "examples",
        "$schema",   "$id",         "$comment",       "deprecated",
        "readOnly",  "writeOnly",   "contentEncoding"};
    const size_t count = sizeof(known) / sizeof(*known);
    for (void *at = json_object_iter(schema); at; at = json_object_iter_next(schema, at)) {
        size_t i = 0;
        while (i < count && strcmp(known[i], json_object_iter_key(at)) != 0)
            i++;
        if (i == count)
            return fail(c, "'%.40s' is not supported", json_object_iter_key(at));
    }
    return true;
}

static bool put_checked(converter *c, lx_buffer *rule, const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    const json_t *any = json_object_get(schema, "anyOf"),
                 *one = json_object_get(schema, "oneOf");
    if (json_object_get(schema, "$ref"))
        return put_reference(c, rule, json_object_get(schema, "$ref"));
    if (json_object_get(schema, "const"))
        return put_literal(rule, json_object_get(schema, "const"));
    if (json_object_get(schema, "enum"))
        return put_enum(c, rule, json_object_get(schema, "enum"));
    if (any || one)
        return put_any_of(c, rule, any ? any : one, any ? "anyOf" : "oneOf");
    if (json_is_array(type))
        return put_types(c, rule, schema, type);
    if (json_is_string(type))
        return put_type(c, rule, schema, json_string_value(type));
    if (type)
        return fail(c, "'type' must be a name or an array of names");
    if (json_object_get(schema, "properties"))
        return put_object(c, rule, schema);
    if (json_object_get(schema, "items"))
        return put_array(c, rule, schema);
    lx_buffer_puts(rule, "value ");
    return true;
}

static bool put_schema(converter *c, lx_buffer *rule, const json_t *schema)
{
    if (json_is_true(schema)) {
        lx_buffer_puts(rule, "value ");
        return true;
    }
    if (!json_is_object(schema))
        return fail(c, "a schema must be an object");
    if (c->nesting == NESTING_MAX)
        return fail(c, "schemas are nested more than %d deep", NESTING_MAX);
    if (c->out->size + rule->size > LYNX_GRAMMAR_BYTES_MAX)
        return fail(c, "the schema is too large");
    if (!check_keywords(c, (json_t *)(uintptr_t)schema))
        return false;
    c->nesting++;
    const bool is_good = put_checked(c, rule, schema);
    c->nesting--;
    return is_good;
}

bool lx_schema_grammar(const json_t *schema, lx_buffer *grammar,
                       char reason[LX_SCHEMA_REASON_BYTES])
{
    converter c = {.root = schema, .out = grammar, .reason = reason};
    reason[0] = '\0';
    c.references[c.reference_count++] = schema;
    lx_buffer_puts(grammar, "root ::= ref-0\n");
    for (uint32_t i = 0; i < c.reference_count && !c.has_failed; i++) {
        lx_buffer reference = {0};
        (void)put_schema(&c, &reference, c.references[i]);
        (void)add_rule(&c, "ref", i, &reference);
    }
    lx_buffer_puts(grammar, common);
    return !c.has_failed && !grammar->has_failed;
}
