package alerts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/dawsos/dawsos/internal/fault"
	"github.com/dawsos/dawsos/pkg/pattern"
)

// MaxRuleSize bounds a rule's JSON, in bytes.
const MaxRuleSize = 64 << 10

// problems collects everything that is wrong with an input.
type problems struct{ fields []fault.Field }

func (p *problems) add(pointer, format string, args ...any) {
	p.fields = append(p.fields, fault.Field{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
}

// err returns what was collected as one fault.Invalid, nil when there is nothing.
func (p *problems) err() error {
	if len(p.fields) == 0 {
		return nil
	}
	details := make([]string, len(p.fields))
	for i, f := range p.fields {
		details[i] = f.Pointer + ": " + f.Detail
	}
	return &fault.Error{Code: fault.Invalid, Detail: strings.Join(details, "; "), Fields: p.fields}
}

// object is a JSON object's members by name.
type object struct{ members map[string]json.RawMessage }

// object reads a JSON object of known members. Unknown and repeated ones are problems.
func (p *problems) object(raw []byte, pointer string, known ...string) (object, bool) {
	o := object{members: map[string]json.RawMessage{}}
	d := json.NewDecoder(bytes.NewReader(raw))
	start, err := d.Token()
	if err != nil || start != json.Delim('{') {
		p.add(pointer, "must be a JSON object")
		return o, false
	}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			p.add(pointer, "is not valid JSON")
			return o, false
		}
		member := pointer + "/" + escape(name)
		switch _, twice := o.members[name]; {
		case twice:
			p.add(member, "stands twice")
		case !slices.Contains(known, name):
			p.add(member, "there is no such field%s; there are %s", meant(name, known), strings.Join(known, ", "))
		default:
			o.members[name] = value
		}
	}
	if _, err := d.Token(); err != nil {
		p.add(pointer, "is not valid JSON")
		return o, false
	}
	return o, true
}

// maxPointerPart bounds how much of an unknown name is repeated, in bytes.
const maxPointerPart = 100

// escape writes a name as part of a JSON pointer.
func escape(name string) string {
	if len(name) > maxPointerPart {
		name = strings.ToValidUTF8(name[:maxPointerPart], "")
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// meant suggests what a wrong name was to be.
func meant(name string, known []string) string {
	if k := pattern.Closest(name, known); k != "" {
		return fmt.Sprintf(", did you mean %q", k)
	}
	return ""
}

// given reports whether a member is there and not null.
func (o object) given(name string) bool {
	raw, ok := o.members[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// text reads one line of up to most characters.
func (p *problems) text(o object, parent, name string, most int) string {
	return p.lines(o, parent, name, most, "")
}

// lines reads a text of up to most characters, without control characters but the allowed ones.
func (p *problems) lines(o object, parent, name string, most int, allowed string) string {
	pointer := parent + "/" + name
	if !o.given(name) {
		p.add(pointer, "is missing")
		return ""
	}
	var s string
	if json.Unmarshal(o.members[name], &s) != nil {
		p.add(pointer, "must be a text")
		return ""
	}
	if n := utf8.RuneCountInString(s); n < 1 || n > most {
		p.add(pointer, "must have 1 to %d characters, it has %d", most, n)
	} else if strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune(allowed, r) }) {
		p.add(pointer, "holds control characters")
	}
	return s
}

// choice reads one of a closed set of texts.
func (p *problems) choice(o object, parent, name string, known []string) string {
	pointer := parent + "/" + name
	if !o.given(name) {
		p.add(pointer, "is missing; it must be one of %s", strings.Join(known, ", "))
		return ""
	}
	var s string
	if json.Unmarshal(o.members[name], &s) != nil || !slices.Contains(known, s) {
		p.add(pointer, "must be one of %s%s", strings.Join(known, ", "), meant(s, known))
		return ""
	}
	return s
}

func (p *problems) boolean(o object, parent, name string, fallback bool) bool {
	if !o.given(name) {
		return fallback
	}
	var b bool
	if json.Unmarshal(o.members[name], &b) != nil {
		p.add(parent+"/"+name, "must be true or false")
	}
	return b
}

// whole reads a whole number.
func (p *problems) whole(o object, name string, least, most, fallback int64) int64 {
	if !o.given(name) {
		return fallback
	}
	d, ok := number(o.members[name])
	if !ok || !d.IsInteger() || d.LessThan(decimal.NewFromInt(least)) || d.GreaterThan(decimal.NewFromInt(most)) {
		p.add("/"+name, "must be a whole number from %d to %d", least, most)
		return fallback
	}
	return d.IntPart()
}

const (
	maxNumber = 40 // characters
	// maxExponent bounds what a number is worth, 10 to the power of it, and minExponent how fine it is:
	// comparing must not write out millions of zeros.
	maxExponent = 18
	minExponent = -30
)

// number reads a JSON number exactly.
func number(raw json.RawMessage) (decimal.Decimal, bool) {
	var n json.Number
	if len(raw) > maxNumber || len(raw) == 0 || raw[0] == '"' || json.Unmarshal(raw, &n) != nil {
		return decimal.Decimal{}, false
	}
	d, err := decimal.NewFromString(n.String())
	if err != nil || d.Exponent() > maxExponent || d.Exponent() < minExponent {
		return decimal.Decimal{}, false
	}
	return d, d.Abs().LessThanOrEqual(decimal.New(1, maxExponent))
}

// ParseCondition reads a condition, all of which stands below pointer. The error is fault.Invalid and
// names every field that is wrong.
func ParseCondition(raw []byte, pointer string) (Condition, error) {
	p := &problems{}
	c := p.condition(raw, pointer)
	return c, p.err()
}

func (p *problems) condition(raw []byte, pointer string) Condition {
	if len(raw) > MaxRuleSize {
		p.add(pointer, "must not be larger than %d bytes", MaxRuleSize)
		return Condition{}
	}
	c, leaves := p.tree(raw, pointer, maxDepth)
	if leaves > maxLeaves {
		p.add(pointer, "compares %d values, %d are allowed", leaves, maxLeaves)
	}
	return c
}

// tree reads a condition that may hold depth levels of others. It returns how many leaves it has.
func (p *problems) tree(raw []byte, pointer string, depth int) (Condition, int) {
	for _, kind := range []string{"all", "any", "not"} {
		// Cheap, and told apart before the fields of a leaf are found missing.
		if !declares(raw, kind) {
			continue
		}
		o, ok := p.object(raw, pointer, kind)
		if !ok {
			return Condition{}, 0
		}
		pointer += "/" + kind
		if depth == 0 {
			p.add(pointer, "conditions may hold each other %d times", maxDepth)
			return Condition{}, 0
		}
		if kind == "not" {
			part, leaves := p.tree(o.members[kind], pointer, depth-1)
			return Condition{Not: &part}, leaves
		}
		parts, leaves := p.parts(o.members[kind], pointer, depth-1)
		if kind == "all" {
			return Condition{All: parts}, leaves
		}
		return Condition{Any: parts}, leaves
	}
	return p.leaf(raw, pointer), 1
}

// declares reports whether raw is an object with a member of that name.
func declares(raw []byte, name string) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return false
	}
	_, ok := members[name]
	return ok
}

func (p *problems) parts(raw []byte, pointer string, depth int) ([]Condition, int) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 || len(list) > maxLeaves {
		p.add(pointer, "must be a list of 1 to %d conditions", maxLeaves)
		return nil, 0
	}
	parts, leaves := make([]Condition, len(list)), 0
	for i, item := range list {
		var n int
		parts[i], n = p.tree(item, at(pointer, i), depth)
		leaves += n
	}
	return parts, leaves
}

func leafTypes() []string {
	var names []string
	for _, t := range Types() {
		if t != Compound {
			names = append(names, string(t))
		}
	}
	return names
}

const maxSubject = 100 // characters of a series' or security's name

func (p *problems) leaf(raw []byte, pointer string) Condition {
	// The type first: it says which fields there are.
	var head struct {
		Type json.RawMessage `json:"type"`
	}
	if json.Unmarshal(raw, &head) != nil {
		p.add(pointer, "must be a JSON object")
		return Condition{}
	}
	t := Type(p.choice(object{members: map[string]json.RawMessage{"type": orNull(head.Type)}}, pointer, "type", leafTypes()))
	f, ok := forms[t]
	if !ok {
		return Condition{}
	}
	known := []string{"type"}
	if f.subject != "" {
		known = append(known, f.subject)
	}
	if f.limit == valueField {
		known = append(known, "metric", "op")
	}
	known = append(known, f.limit)
	o, ok := p.object(raw, pointer, known...)
	if !ok {
		return Condition{}
	}

	c := Condition{Type: t, Metric: f.metrics[0], Op: f.op}
	if f.subject != "" {
		c.Subject = p.text(o, pointer, f.subject, maxSubject)
	}
	if f.subject == "portfolio_id" && c.Subject != "" {
		id, err := uuid.Parse(c.Subject)
		if err != nil {
			p.add(pointer+"/portfolio_id", "must be a UUID")
		}
		c.Subject = id.String()
	}
	if f.limit == valueField {
		if f.needed || o.given("metric") {
			c.Metric = p.choice(o, pointer, "metric", f.metrics)
		}
		c.Op = Op(p.choice(o, pointer, "op", ops))
	}
	c.Threshold = p.threshold(o, pointer, f)
	return c
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func (p *problems) threshold(o object, pointer string, f form) decimal.Decimal {
	pointer += "/" + f.limit
	if !o.given(f.limit) {
		if f.fallback == "" {
			p.add(pointer, "is missing")
			return decimal.Decimal{}
		}
		return decimal.RequireFromString(f.fallback)
	}
	d, ok := number(o.members[f.limit])
	switch {
	case !ok:
		p.add(pointer, "must be a number within 1e%d, of at most %d characters", maxExponent, maxNumber)
	case f.least != "" && (d.LessThan(decimal.RequireFromString(f.least)) || d.GreaterThan(decimal.RequireFromString(f.most))):
		p.add(pointer, "must be from %s to %s", f.least, f.most)
	}
	return d
}

// Limits of a rule's fields.
const (
	maxUserID       = 200 // characters
	maxName         = 200
	maxTitle        = 300 // of a template
	maxMessage      = 5000
	maxCooldown     = 8760 // hours
	defaultCooldown = 24
	maxTTL          = 30 * 24 * 60 * 60 // seconds
	maxDestinations = 20
	maxRecipients   = 50
	maxAddress      = 2048 // characters of a URL
	maxMailbox      = 320  // characters of a mail address
)

var ruleFields = []string{
	"user_id", "name", "type", "condition", "severity", "title", "message", "cooldown_hours", "ttl_seconds",
	"channels", "notify_inapp", "notify_email", "fallback", "active",
}

// ParseRule reads what a caller wants a rule to be. The error is fault.Invalid and names every field
// that is wrong.
func ParseRule(raw []byte) (Rule, error) {
	p := &problems{}
	if len(raw) > MaxRuleSize {
		return Rule{}, fault.New(fault.TooLarge, "a rule may have %d bytes", MaxRuleSize)
	}
	o, ok := p.object(raw, "", ruleFields...)
	if !ok {
		return Rule{}, p.err()
	}
	r := Rule{
		UserID: p.text(o, "", "user_id", maxUserID), Name: p.text(o, "", "name", maxName),
		Severity: Warning, Title: defaultTitle, Message: defaultMessage,
		Cooldown: time.Duration(p.whole(o, "cooldown_hours", 0, maxCooldown, defaultCooldown)) * time.Hour,
		TTL:      time.Duration(p.whole(o, "ttl_seconds", 1, maxTTL, 0)) * time.Second,
		Active:   p.boolean(o, "", "active", true),
	}
	sound := len(p.fields)
	if o.given("condition") {
		r.Condition = p.condition(o.members["condition"], conditionPointer)
	} else {
		p.add(conditionPointer, "is missing")
	}
	if o.given("type") && len(p.fields) == sound {
		kinds := make([]string, len(Types()))
		for i, t := range Types() {
			kinds[i] = string(t)
		}
		if t := p.choice(o, "", "type", kinds); t != "" && t != string(r.Condition.Kind()) {
			p.add("/type", "the condition is of type %s; leave this field out, or have both agree", r.Condition.Kind())
		}
	}
	if o.given("severity") {
		r.Severity = Severity(p.choice(o, "", "severity", []string{string(Info), string(Warning), string(Critical)}))
	}
	if o.given("title") {
		r.Title = p.template(o, "title", maxTitle, "")
	}
	if o.given("message") {
		r.Message = p.template(o, "message", maxMessage, "\n\t")
	}
	p.ruleChannels(o, &r)
	return r, p.err()
}

// ruleChannels reads the channels object, or the two switches that stood in its place before.
func (p *problems) ruleChannels(o object, r *Rule) {
	inapp, email := p.boolean(o, "", "notify_inapp", true), p.boolean(o, "", "notify_email", false)
	if o.given("channels") {
		r.Channels = p.channels(o.members["channels"], "/channels")
	} else {
		r.Channels = Channels{Inapp: inapp}
		if email {
			r.Channels.Email = p.mailTo(r.UserID)
		}
		if r.Channels.none() {
			p.add("/channels", "at least one channel must be on")
		}
	}
	if o.given("fallback") {
		fallback := p.channels(o.members["fallback"], "/fallback")
		r.Fallback = &fallback
	}
}

// mailTo returns the mail channel that notify_email stands for: the user's id, when that is an address.
func (p *problems) mailTo(userID string) *Email {
	if !isMailbox(userID) {
		p.add("/notify_email", "needs an address: have user_id be one, or give channels.email.to")
		return nil
	}
	return &Email{To: []string{userID}}
}

func isMailbox(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && utf8.RuneCountInString(s) <= maxMailbox
}

func (p *problems) channels(raw []byte, pointer string) Channels {
	before := len(p.fields)
	o, ok := p.object(raw, pointer, "inapp", "webhook", "email", "destination")
	if !ok {
		return Channels{}
	}
	c := Channels{Inapp: p.boolean(o, pointer, "inapp", false)}
	if o.given("webhook") {
		if w, ok := p.object(o.members["webhook"], pointer+"/webhook", "url"); ok {
			c.Webhook = &Webhook{URL: p.text(w, pointer+"/webhook", "url", maxAddress)}
		}
	}
	if o.given("email") {
		if e, ok := p.object(o.members["email"], pointer+"/email", "to"); ok {
			c.Email = &Email{To: p.texts(e, pointer+"/email", "to", maxRecipients, maxMailbox)}
			for i, to := range c.Email.To {
				if !isMailbox(to) {
					p.add(at(pointer+"/email/to", i), "must be a plain mail address such as ada@example.com")
				}
			}
		}
	}
	if o.given("destination") {
		c.Destination = p.texts(o, pointer, "destination", maxDestinations, maxName)
	}
	if c.none() && len(p.fields) == before {
		p.add(pointer, "at least one channel must be on")
	}
	return c
}

// texts reads a list of distinct texts, or one text alone.
func (p *problems) texts(o object, parent, name string, most, length int) []string {
	pointer := parent + "/" + name
	if !o.given(name) {
		p.add(pointer, "is missing")
		return nil
	}
	var one string
	if json.Unmarshal(o.members[name], &one) == nil {
		return []string{p.text(o, parent, name, length)}
	}
	var items []json.RawMessage
	if json.Unmarshal(o.members[name], &items) != nil || len(items) == 0 || len(items) > most {
		p.add(pointer, "must be a text or a list of 1 to %d", most)
		return nil
	}
	list := make([]string, len(items))
	for i, item := range items {
		key := fmt.Sprint(i)
		list[i] = p.text(object{members: map[string]json.RawMessage{key: item}}, pointer, key, length)
		if list[i] != "" && slices.Index(list, list[i]) < i {
			p.add(at(pointer, i), "stands twice")
		}
	}
	return list
}

// definition is a rule as ParseRule would read it, by field.
func (r Rule) definition() (map[string]json.RawMessage, error) {
	fields := map[string]any{
		"user_id": r.UserID, "name": r.Name, "condition": r.Condition, "severity": r.Severity, "title": r.Title,
		"message": r.Message, "cooldown_hours": int64(r.Cooldown / time.Hour), "channels": r.Channels, "active": r.Active,
	}
	if r.TTL > 0 {
		fields["ttl_seconds"] = int64(math.Round(r.TTL.Seconds()))
	}
	if r.Fallback != nil {
		fields["fallback"] = r.Fallback
	}
	definition := make(map[string]json.RawMessage, len(fields))
	for name, v := range fields {
		raw, err := plainJSON(v)
		if err != nil {
			return nil, err
		}
		definition[name] = raw
	}
	return definition, nil
}

// Merge returns the rule with the fields that patch gives. A field is replaced as a whole, conditions
// and channels too; null stands for its default. notify_inapp and notify_email switch one channel and
// leave the others, unless channels are given. What stands of a condition that was changed begins anew,
// and so does a rule that is switched on or off.
func Merge(r Rule, patch []byte) (Rule, error) {
	p := &problems{}
	if len(patch) > MaxRuleSize {
		return Rule{}, fault.New(fault.TooLarge, "a change of a rule may have %d bytes", MaxRuleSize)
	}
	o, ok := p.object(patch, "", ruleFields...)
	if !ok || len(p.fields) > 0 {
		return Rule{}, p.err()
	}
	definition, err := r.definition()
	if err != nil {
		return Rule{}, fmt.Errorf("write rule %s: %w", r.ID, err)
	}
	if _, replaced := o.members["channels"]; !replaced {
		if channels, changed := p.switched(o, r); changed {
			if definition["channels"], err = plainJSON(channels); err != nil {
				return Rule{}, fmt.Errorf("write channels of rule %s: %w", r.ID, err)
			}
		}
		delete(o.members, "notify_inapp")
		delete(o.members, "notify_email")
	}
	if len(p.fields) > 0 {
		return Rule{}, p.err()
	}
	for name, value := range o.members {
		definition[name] = value
	}
	raw, err := plainJSON(definition)
	if err != nil {
		return Rule{}, fmt.Errorf("write rule %s: %w", r.ID, err)
	}
	parsed, err := ParseRule(raw)
	if err != nil {
		return Rule{}, err
	}
	merged := r
	merged.UserID, merged.Name, merged.Condition, merged.Severity = parsed.UserID, parsed.Name, parsed.Condition, parsed.Severity
	merged.Title, merged.Message, merged.Cooldown, merged.TTL = parsed.Title, parsed.Message, parsed.Cooldown, parsed.TTL
	merged.Channels, merged.Fallback, merged.Active = parsed.Channels, parsed.Fallback, parsed.Active

	before, after := r.Condition.String(), merged.Condition.String()
	if before != after || r.Active != merged.Active {
		merged.State, merged.SnoozedUntil = OK, time.Time{}
		merged.LastValue, merged.LastEvaluatedAt, merged.LastError = nil, time.Time{}, ""
	}
	return merged, nil
}

// switched returns the rule's channels after notify_inapp and notify_email, and whether one was given.
func (p *problems) switched(o object, r Rule) (Channels, bool) {
	c, changed := r.Channels, false
	if o.given("notify_inapp") {
		c.Inapp, changed = p.boolean(o, "", "notify_inapp", c.Inapp), true
	}
	if o.given("notify_email") {
		changed = true
		switch on := p.boolean(o, "", "notify_email", false); {
		case !on:
			c.Email = nil
		case c.Email == nil:
			user := r.UserID
			if o.given("user_id") {
				user = p.text(o, "", "user_id", maxUserID)
			}
			c.Email = p.mailTo(user)
		}
	}
	return c, changed
}
