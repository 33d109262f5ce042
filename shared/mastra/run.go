package mastra

// RunStatus is where a run stands.
type RunStatus string

const (
	StatusPending   RunStatus = "pending" // created, not started
	StatusRunning   RunStatus = "running"
	StatusSuspended RunStatus = "suspended"
	StatusWaiting   RunStatus = "waiting" // sleeps
	StatusSuccess   RunStatus = "success"
	StatusFailed    RunStatus = "failed"
	StatusCanceled  RunStatus = "canceled"
	StatusBailed    RunStatus = "bailed"
	StatusPaused    RunStatus = "paused" // after a step, for the next one to be asked for
)

// Ended says that a run's status is final.
func (s RunStatus) Ended() bool {
	return s == StatusSuccess || s == StatusFailed || s == StatusCanceled || s == StatusBailed
}

// Active says that a run goes on by itself: somebody carries it out, or it sleeps.
func (s RunStatus) Active() bool { return s == StatusRunning || s == StatusWaiting }

// Rests says that a run goes on only where somebody asks for it, if at all.
func (s RunStatus) Rests() bool {
	return s.Ended() || s == StatusSuspended || s == StatusPaused
}

// RunError is why a run or a step failed.
type RunError struct {
	Message string `json:"message"`
	Name    string `json:"name"`
}

// Run is a workflow run: its head, and the results of its steps so far.
type Run struct {
	ID          string         `json:"runId"`
	WorkflowID  string         `json:"workflowName"`
	ResourceID  string         `json:"resourceId,omitempty"`
	Status      RunStatus      `json:"status"`
	Input       JSON           `json:"input,omitzero"`
	Result      JSON           `json:"result,omitzero"`
	Error       *RunError      `json:"error,omitempty"`
	Path        []string       `json:"stepExecutionPath"`
	Suspended   [][]string     `json:"suspended,omitempty"` // the steps that wait, as paths
	TraceID     string         `json:"traceId,omitempty"`
	SpanID      string         `json:"spanId,omitempty"`
	Context     RequestContext `json:"requestContext,omitempty"` // kept across suspension
	CreatedAt   Time           `json:"createdAt"`
	UpdatedAt   Time           `json:"updatedAt"`
	Graph       JSON           `json:"serializedStepGraph,omitzero"` // as it was when the run began
	Fingerprint string         `json:"fingerprint,omitempty"`        // of the input: a second start with the same one joins
	Tracing     TracingOptions `json:"tracing,omitzero"`             // of the part that runs now
	State       JSON           `json:"state,omitzero"`               // what the steps share
	PerStep     bool           `json:"perStep,omitzero"`             // pause after each step
	Pass        int            `json:"pass,omitzero"`                // how often time travel has sent it back
	Attempts    int            `json:"attempts,omitzero"`            // how often in a row it was taken over without getting further
	Version     int64          `json:"version,omitzero"`             // of the code that began it
	Epoch       int64          `json:"epoch,omitzero"`               // of the last part of its stream; 0: nobody asked for one
	Caller      *Principal     `json:"caller,omitempty"`             // who started or resumed it: whoever takes it over works in this name

	ExpiresAt Time `json:"expiresAt,omitzero"` // it may be gone after it; 0 is never

	// Kept beside the head.
	Steps      Object[StepResult] `json:"-"` // by StepKey, in the order they first began
	Fence      int64              `json:"-"` // raised when the run gets another owner; a writer shows the one it holds
	Owner      string             `json:"-"`
	LeaseUntil Time               `json:"-"`
}

// StepResult is the state of one step. Times are Unix milliseconds, 0 where not reached.
type StepResult struct {
	Status         RunStatus `json:"status"`
	Payload        JSON      `json:"payload,omitzero"`
	Output         JSON      `json:"output,omitzero"`
	Error          *RunError `json:"error,omitempty"`
	SuspendPayload JSON      `json:"suspendPayload,omitzero"`
	ResumePayload  JSON      `json:"resumePayload,omitzero"`
	StartedAt      int64     `json:"startedAt,omitzero"`
	EndedAt        int64     `json:"endedAt,omitzero"`
	SuspendedAt    int64     `json:"suspendedAt,omitzero"`
	ResumedAt      int64     `json:"resumedAt,omitzero"`
	Metadata       *StepMeta `json:"metadata,omitempty"`

	// What the engine keeps for itself: see Shown.
	Labels  []string `json:"labels,omitempty"` // that a suspended step is resumed by, too
	Retries int      `json:"retries,omitzero"` // that were used up
	Begun   bool     `json:"begun,omitzero"`   // a step that runs at most once has begun
	WakeAt  int64    `json:"wakeAt,omitzero"`  // when a sleep ends
}

// Shown is the result as it is answered: one that ended its workflow is a success.
func (r StepResult) Shown() StepResult {
	if r.Status == StatusBailed {
		r.Status = StatusSuccess
	}
	r.Labels, r.Retries, r.Begun, r.WakeAt = nil, 0, false, 0
	return r
}

// SuspendedAtKey is the key, within the payload of a nested workflow or foreach that is suspended, of where in it.
const SuspendedAtKey = "__workflow_meta"

// StepMeta is what a loop tells of its step.
type StepMeta struct {
	Iterations int `json:"iterationCount"` // begun so far
}

// RunUpdate is one conditional write to a run.
type RunUpdate struct {
	// Run is the head as it is to be. Of Run.Steps only those given are written, each replacing the one of its key:
	// a checkpoint writes the step, not the whole run.
	Run Run
	// Create makes the run; one of the same id is a CodeConflict. Owner, LeaseUntil and Fence are taken from Run.
	// Otherwise the stored Fence must equal Run.Fence and the stored status must not have ended, else CodeConflict;
	// Owner and LeaseUntil are then set from Run.
	Create bool
	// From, where set, is the status that the stored run must have: one winner among concurrent resumes.
	From RunStatus
	// Reset drops the stored steps first: a run that is started anew. With From it may be one that has ended.
	Reset bool
}

// Claim is the record of one request under its idempotency key: a repeat joins it instead of doing the work again.
type Claim struct {
	Key         string    `json:"key"`
	Fingerprint string    `json:"fingerprint"` // of the request; another request under the same explicit key is refused
	RunID       string    `json:"runId"`
	Status      RunStatus `json:"status"` // running; success: answered from State; failed: a repeat goes on from State
	Owner       string    `json:"owner"`  // the process that works on it
	LeaseUntil  Time      `json:"leaseUntil"`
	State       JSON      `json:"state,omitzero"` // what is done so far, or the answer
	ExpiresAt   Time      `json:"expiresAt"`      // not seen after it
}

// ClaimUpdate writes or deletes a claim.
type ClaimUpdate struct {
	Claim  Claim
	Create bool // one that exists and has not expired is a *ClaimedError
	Delete bool // of Claim.Key, if Owner still holds it
	// Otherwise the stored one must be held by Claim.Owner, or by From: a CodeConflict if not.
	From string
	// Answer is the id of the message that the request will be answered with. Where the outcome names the same one, and it is in the
	// batch, a storage may keep the outcome with the message instead of the claim: whoever asks for the claim is told of it. It is
	// named only by who is sure to hold the claim still.
	Answer string
}

// ClaimedError is what Commit returns where a claim to be created is there already.
type ClaimedError struct{ Existing Claim }

func (e *ClaimedError) Error() string { return "request " + e.Existing.Key + " is claimed already" }
