package claude

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dawsos/dawsos/internal/outbound"
)

// Limits of an exchange with a model's server.
const (
	DefaultTimeout = 20 * time.Second
	// DefaultMaxResponse bounds an answer of the server, in bytes.
	DefaultMaxResponse = 256 << 10
	// maxAnswer bounds the text that is passed on, in bytes.
	maxAnswer = 16 << 10
	// maxQuestion bounds the data that are sent, in bytes.
	maxQuestion = 64 << 10
	// reserve is what is left of a request's time to answer with sentences when the model does not.
	reserve = 500 * time.Millisecond
)

// ChatOptions configure a Chat.
type ChatOptions struct {
	// URL is the API's base address, such as http://localhost:11434/v1. Required.
	URL string
	// Model is the model's name at the server. Required.
	Model string
	// Key is sent as a bearer token. "" sends none.
	Key string
	// Client makes the requests: a guarded one, see package outbound. Required.
	Client *http.Client
	// Timeout bounds one answer; 0 means DefaultTimeout.
	Timeout time.Duration
	// MaxResponse bounds the server's answer, in bytes; 0 means DefaultMaxResponse.
	MaxResponse int64
	// UserAgent names the program to the server; "" means "DawsOS".
	UserAgent string
}

// Chat asks a model through the API that OpenAI calls Chat Completions and many servers speak.
type Chat struct {
	address     string
	model       string
	key         string
	client      *http.Client
	timeout     time.Duration
	maxResponse int64
	userAgent   string
}

// NewChat returns a chat with one model.
func NewChat(o ChatOptions) (*Chat, error) {
	base, err := url.Parse(o.URL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Hostname() == "" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the model's URL must be an absolute http or https address without user, query and fragment")
	}
	if o.Model == "" || o.Client == nil {
		return nil, errors.New("a model needs a name and an HTTP client")
	}
	return &Chat{
		address: base.JoinPath("chat", "completions").String(), model: o.Model, key: o.Key, client: o.Client,
		timeout: cmp.Or(o.Timeout, DefaultTimeout), maxResponse: cmp.Or(o.MaxResponse, DefaultMaxResponse),
		userAgent: cmp.Or(o.UserAgent, "DawsOS"),
	}, nil
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type completionRequest struct {
	Model       string    `json:"model"`
	Messages    []message `json:"messages"`
	Temperature float64   `json:"temperature"`
	Stream      bool      `json:"stream"`
}

type completion struct {
	Choices []struct {
		Message struct {
			Content *string `json:"content"`
			Refusal *string `json:"refusal"`
		} `json:"message"`
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
}

// failure is why there is no answer. Its text is fit for the caller: what the server said is not in it.
type failure struct {
	reason string
	cause  error // for the log
}

func (f *failure) Error() string {
	if f.cause == nil {
		return f.reason
	}
	return f.reason + ": " + f.cause.Error()
}

func (f *failure) Unwrap() error { return f.cause }

// timeFor is how long the model may take to answer a request: its timeout, within what the request has left
// besides the reserve. Without any, 0 or less, it must not be asked.
func (c *Chat) timeFor(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(c.timeout, time.Until(deadline)-reserve)
	}
	return c.timeout
}

// ask returns what the model answers within a time. The error is a *failure, or the end of ctx itself.
func (c *Chat) ask(ctx context.Context, timeout time.Duration, system, question string) (string, error) {
	body, err := json.Marshal(completionRequest{
		Model: c.model, Messages: []message{{"system", system}, {"user", question}},
	})
	if err != nil {
		return "", &failure{"the question can't be written as JSON", err}
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, c.address, bytes.NewReader(body))
	if err != nil {
		return "", &failure{"the request to the model's server can't be made", outbound.WithoutURL(err)}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return "", unreachable(ctx, err, "can't be reached")
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, c.maxResponse+1))
	if err != nil {
		return "", unreachable(ctx, err, "broke off its answer")
	}
	if resp.StatusCode != http.StatusOK {
		return "", &failure{fmt.Sprintf("the model's server answered with status %d", resp.StatusCode), c.reported(raw)}
	}
	if int64(len(raw)) > c.maxResponse {
		return "", &failure{fmt.Sprintf("the model's server answered with more than %d bytes", c.maxResponse), nil}
	}
	return answerOf(raw)
}

// unreachable is an exchange without a whole answer.
func unreachable(ctx context.Context, err error, what string) error {
	if ctx.Err() != nil {
		return ctx.Err() // nobody waits any more
	}
	err = outbound.WithoutURL(err)
	if errors.Is(err, context.DeadlineExceeded) {
		return &failure{"the model did not answer in time", err}
	}
	return &failure{"the model's server " + what, err}
}

// reported reads why a server refused, for the log: {"error": {"message": ...}}, or the error as a text.
// Servers that refuse a key like to repeat it.
func (c *Chat) reported(raw []byte) error {
	const most = 300
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(raw, &body) != nil || body.Error == nil {
		return nil
	}
	var e struct {
		Message string `json:"message"`
		Type    string `json:"type"`
	}
	if json.Unmarshal(body.Error, &e) != nil && json.Unmarshal(body.Error, &e.Message) != nil {
		return nil
	}
	if e.Message == "" && e.Type == "" {
		return nil
	}
	text := clean(outbound.Mask(cmp.Or(e.Type, "error")+": "+e.Message, c.key))
	return errors.New(text[:min(len(text), most)])
}

func answerOf(raw []byte) (string, error) {
	var c completion
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", &failure{"the model's server answered in a form that is not that of chat completions", err}
	}
	if len(c.Choices) == 0 {
		return "", &failure{"the model's server answered without a choice", nil}
	}
	choice := c.Choices[0]
	if reason := choice.FinishReason; reason != nil && *reason != "stop" {
		return "", &failure{"the model did not end its answer", errors.New("finish_reason " + clean(*reason))}
	}
	switch text := choice.Message.Content; {
	case text == nil && choice.Message.Refusal != nil:
		return "", &failure{"the model refused to answer", nil}
	case text == nil || *text == "":
		return "", &failure{"the model answered nothing", nil}
	case len(*text) > maxAnswer:
		return "", &failure{fmt.Sprintf("the model answered with more than %d bytes", maxAnswer), nil}
	default:
		return *text, nil
	}
}
