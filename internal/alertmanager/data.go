package alertmanager

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// data is what the receivers get beside the text: the payload under Alertmanager's own names, within
// bounds.
type data struct {
	Version           string            `json:"version"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupKey          string            `json:"groupKey"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []dataAlert       `json:"alerts"`
	TruncatedAlerts   uint64            `json:"truncatedAlerts"` // left out by Alertmanager, or here
	Shortened         bool              `json:"shortened,omitempty"`
}

type dataAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       *time.Time        `json:"endsAt,omitempty"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	Fingerprint  string            `json:"fingerprint,omitempty"`
}

// shortener cuts what is too long and remembers whether it had to.
type shortener struct{ did bool }

func (s *shortener) text(t string) string {
	kept := storable(t, maxValue)
	if kept != t {
		s.did = true
	}
	return kept
}

// set keeps as many members, in the order of their names, as there is room for.
func (s *shortener) set(m map[string]string) (map[string]string, error) {
	kept, size := make(map[string]string, len(m)), 0
	for _, name := range slices.Sorted(maps.Keys(m)) {
		name, value := s.text(name), s.text(m[name])
		written, err := json.Marshal([]string{name, value})
		if err != nil {
			return nil, err
		}
		if size += len(written); size > maxMapBytes {
			s.did = true
			break
		}
		kept[name] = value
	}
	return kept, nil
}

// data returns a JSON object.
func (p Payload) data() (json.RawMessage, error) {
	var cut shortener
	d := data{
		Version: p.Version, Status: p.Status, Receiver: cut.text(p.Receiver), GroupKey: cut.text(p.GroupKey),
		ExternalURL: cut.text(p.ExternalURL), TruncatedAlerts: p.TruncatedAlerts, Alerts: []dataAlert{},
	}
	for _, set := range []struct {
		from map[string]string
		to   *map[string]string
	}{{p.GroupLabels, &d.GroupLabels}, {p.CommonLabels, &d.CommonLabels}, {p.CommonAnnotations, &d.CommonAnnotations}} {
		var err error
		if *set.to, err = cut.set(set.from); err != nil {
			return nil, fmt.Errorf("encode group %q: %w", p.GroupKey, err)
		}
	}
	size := 0
	for i, a := range p.Alerts {
		kept, err := cut.alert(a)
		if err != nil {
			return nil, fmt.Errorf("encode an alert of group %q: %w", p.GroupKey, err)
		}
		written, err := json.Marshal(kept)
		if err != nil {
			return nil, fmt.Errorf("encode an alert of group %q: %w", p.GroupKey, err)
		}
		if size += len(written); size > maxDataBytes {
			d.TruncatedAlerts += uint64(len(p.Alerts) - i) //nolint:gosec // not negative
			break
		}
		d.Alerts = append(d.Alerts, kept)
	}
	d.Shortened = cut.did
	raw, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode group %q: %w", p.GroupKey, err)
	}
	return raw, nil
}

func (s *shortener) alert(a Alert) (dataAlert, error) {
	kept := dataAlert{
		Status: a.Status, StartsAt: a.StartsAt.UTC(), GeneratorURL: s.text(a.GeneratorURL), Fingerprint: s.text(a.Fingerprint),
	}
	var err error
	if kept.Labels, err = s.set(a.Labels); err != nil {
		return dataAlert{}, err
	}
	if kept.Annotations, err = s.set(a.Annotations); err != nil {
		return dataAlert{}, err
	}
	if a.Status == Resolved && !a.EndsAt.IsZero() {
		ends := a.EndsAt.UTC()
		kept.EndsAt = &ends
	}
	return kept, nil
}
